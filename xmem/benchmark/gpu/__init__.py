"""One command for half an hour on a GPU machine: `python3 gpu.py`, in parts of under 8 minutes that resume.

`make gpu-bundle` packs what a machine needs for it that has no network, no Gradio and no PyAV. None of it has run on
a GPU so far; CI goes through all of it on a CPU, at tiny sizes.
"""
