"""The page of demo.py: what a visitor asks for, the models that draw it, the cards, and gradio's layout."""
