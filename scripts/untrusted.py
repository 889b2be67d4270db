"""What scripts/try runs in the jail: it computes, and tries what it should not."""

import os
import socket
import urllib.request


def attempt(what, action):
    try:
        print(f"{what}: {action()}")
    except Exception as e:
        print(f"{what}: refused ({e})")


def connect(address):
    with socket.create_connection(address, timeout=3):
        return f"connected to {address}"


print(f"the sum of 0 to 9 is {sum(range(10))}")
print(f"user {os.getuid()}, pid {os.getpid()}, host name {os.uname().nodename}")
attempt("read /etc/shadow", lambda: open("/etc/shadow").read())
attempt("list /root", lambda: os.listdir("/root") or "empty")
attempt("write to /usr", lambda: open("/usr/bin/hello", "w"))
attempt("become root", lambda: os.setuid(0))
attempt("connect to 1.1.1.1", lambda: connect(("1.1.1.1", 443)))
attempt("fetch a page", lambda: urllib.request.urlopen("https://example.com", timeout=3).status)
attempt("write to /tmp", lambda: open("/tmp/note", "w").write("hello"))
