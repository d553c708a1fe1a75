"""A scripted stack: the module that the command line runs as a child process, as text."""

from __future__ import annotations

FAKE_STACK = """
import json, os, signal, sys, time
def note(line):
    with open(os.environ["FAKE_STACK_NOTES"], "a") as file:
        file.write(line + "\\n")
note("argv " + json.dumps(sys.argv[1:]))
note(f"safe_path {sys.flags.safe_path}")
mode = os.environ["FAKE_STACK"]
if mode == "refuses":
    sys.exit("some warning\\nport 80 is taken")
if mode == "babbles":
    print("hello", flush=True)
    sys.exit(0)
if mode == "waits":
    print("another scan is running on this machine; waiting for it", file=sys.stderr, flush=True)
    time.sleep(2.5)
url, reused = os.environ["FAKE_STACK_URL"], mode == "reused"
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(json.dumps({"url": url, "pid": os.getpid(), "reused": reused, "home": "/h", "logs": "/l",
  "key_file": os.environ["FAKE_STACK_KEY_FILE"]}), flush=True)
if mode == "reused":
    sys.exit(0)
if mode == "dies":
    sys.exit("out of memory")
if mode == "stubborn":
    time.sleep(600)
sys.stdin.read()
note("stopped in order")
"""
"""`FAKE_STACK` says how it behaves, `FAKE_STACK_URL` what it serves,
`FAKE_STACK_KEY_FILE` where its key is, `FAKE_STACK_NOTES` where it keeps a diary."""
