"""What torch reads from the environment when it is loaded: scripts import this before torch. A user's own wins."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # a waiting thread soon gives its core up: 10x on a machine in use
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # tensors on huge pages: 1.3x the images/s of a large UNet on a CPU
if "PYTORCH_ALLOC_CONF" not in os.environ:  # the same under its new name
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # fewer gaps that nothing fits into
