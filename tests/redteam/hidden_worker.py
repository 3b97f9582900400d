"""Stands for a worker: a secret in its environment, and at its start it does what workers do. Ends with its stdin."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.adapters.procfs import hide_this_process

hide_this_process()
print("up", flush=True)
sys.stdin.read()
