"""`python -I -S launch.py DESCRIPTOR SECONDS COMMAND…`: runs the command and writes what it cost, as JSON, there.

A process of its own because the peak memory of a process counts from before its exec: a child of the bench would
begin with the bench's own size, a child of this one with 9 MB.
"""

import os
import signal
import sys
import time


def main(descriptor: int, seconds: float, command: list[str]) -> None:
    started = time.perf_counter()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os.close(descriptor)
        os.execvp(command[0], command)
    expired = False

    def expire(_number: int, _frame: object) -> None:
        nonlocal expired
        expired = True
        os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _pid, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - started
    signal.setitimer(signal.ITIMER_REAL, 0)
    code = os.waitstatus_to_exitcode(status)
    cpu, rss = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    text = f'{{"status": {code}, "wall": {wall}, "cpu": {cpu}, "rss_mb": {rss}, "timed_out": {str(expired).lower()}}}'
    os.write(descriptor, text.encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
