"""The captioned folder read and checked, what each step draws of it, and the cache of encoded rows."""
