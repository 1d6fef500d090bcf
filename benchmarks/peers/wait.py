"""Runs a peer's script unchanged, but lets it compile early and measure when the GPU is its own.

    PEERS=FOLDER python3 wait.py GO_FILE train_bench.py --sizes 270m

The peers' scripts call torch.cuda.reset_peak_memory_stats once for each configuration, right before they measure. There this
says `ready` on standard error, gives back the memory that compiling and warming up have left over, and waits until GO_FILE is there.
"""
import os
import pathlib
import runpy
import sys
import time

import torch

folder, go = pathlib.Path(os.environ["PEERS"]), pathlib.Path(sys.argv[1])
sys.argv = [str(folder / sys.argv[2]), *sys.argv[3:]]
sys.path.insert(0, str(folder))
reset = torch.cuda.reset_peak_memory_stats


def wait_and_reset(*args, **kwargs):
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    print("ready", file=sys.stderr, flush=True)
    while not go.exists():
        time.sleep(0.1)
    return reset(*args, **kwargs)


torch.cuda.reset_peak_memory_stats = wait_and_reset
runpy.run_path(sys.argv[0], run_name="__main__")
