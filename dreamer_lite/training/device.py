"""Where a run computes: its device, its threads, its memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import ctypes
import mmap
import os
from pathlib import Path
import platform
import sys
import time

import torch

from ..errors import Refused

MOST_THREADS = 1024  # PyTorch ends the program where it can't start as many as it is told to


def use_device(name: str = "auto", threads: int = 0) -> str:
    """The device called `name`; "auto" is CUDA if there is a GPU. Also sets the CPU threads (0: as they are).

    Raises Refused for a device that is unknown or not available, and for more threads than PyTorch can start.
    """
    if not 0 <= threads <= MOST_THREADS:
        raise Refused(f"threads must be 0 or more and at most {MOST_THREADS}, got {threads}")
    if threads:
        torch.set_num_threads(threads)
    name = check_device(name)
    if name != "cpu":
        torch.cuda.set_device(int(name.partition(":")[2] or 0))  # for everything that names no device, such as a stream
    return name


def check_device(name: str | torch.device) -> str:
    """The device called `name`, in words that `use_device` knows; nothing is changed. Raises Refused as that does."""
    name = str(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and one_of_several():  # each process has its own GPU
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    if name.split(":")[0] == "mps":
        raise Refused(
            "device 'mps' is not supported: a train step is thousands of small operations, Apple's GPU can't launch "
            "them all at once as CUDA can, and nothing has been tested there; use --device cpu or auto"
        )
    index = name.removeprefix("cuda:") if name.startswith("cuda:") else "0"
    if name != "cpu" and not (name.startswith("cuda") and index.isdigit() and name in ("cuda", f"cuda:{index}")):
        raise Refused(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N")
    if name != "cpu" and int(index) >= torch.cuda.device_count():
        raise Refused(
            f"device {name!r} is not available: PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices here; use --device cpu or auto"
        )
    return name


def one_of_several() -> bool:
    """Whether torchrun started this process together with others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def require_float32() -> None:
    """Raises Refused where new tensors would get another type: an environment may have set it for the whole program."""
    if (kind := torch.get_default_dtype()) != torch.float32:
        raise Refused(
            f"PyTorch's default type is {kind} here, set by the environment or your script, and an agent needs "
            "float32; call torch.set_default_dtype(torch.float32) after that"
        )


kept = False  # whether `keep_memory` changed this process
HEAP = 2**30  # bytes of address space that get huge pages once they are used; a train step of `small` uses 0.3 GB
MADV_HUGEPAGE = 14  # <linux/mman.h>


def keep_memory() -> None:
    """Make glibc keep freed memory, in pages of 2 MB where Linux has them. No effect elsewhere.

    Otherwise glibc returns the memory of large tensors to the system and faults it in again, page by page, in every
    step; and finding one's way among pages of 4 kB costs more than it looks, most of all in a virtual machine. This
    changes the whole process, so only the command line and the course's notebooks do it; the run card says so.
    docs/speed.md has what it gains.
    """
    global kept
    if kept:
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no allocation by mmap
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never shrink the heap
        kept = True
        ask_for_huge_pages(libc)
    except (OSError, AttributeError):
        pass


def ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Let the heap grow into pages of 2 MB. Many systems give them only to those who ask (`madvise`)."""
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = pointer, [size], [pointer]
    libc.madvise.argtypes = [pointer, size, ctypes.c_int]
    if (block := libc.malloc(HEAP)) is None:  # no address space for it
        return
    begin = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
    libc.madvise(begin, HEAP - (begin - block), MADV_HUGEPAGE)  # where it is refused, all stays as it is
    libc.free(block)  # nothing was written, so no memory was taken; malloc gives it out again piece by piece


def memory_is_kept() -> bool:
    return kept


def seconds(action: Callable[[], object], device: torch.device | str) -> float:
    """How long `action` takes, including what it launched on a GPU."""
    start = time.perf_counter()
    action()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def device_name(device: torch.device | str) -> str:
    """The name of the device: "NVIDIA H200", "AMD EPYC 9B14"."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def free_memory(device: torch.device | str) -> int | None:
    """Bytes free on a device; None where the system doesn't say."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def own_peak() -> int | None:
    """The most memory this process has held, in bytes; None on Windows, which has no `resource`."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


NO_ROOM = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "Storage size calculation overflowed",
    "out of memory",
)


@contextmanager
def refuse_out_of_memory(what: str, device: torch.device | str) -> Iterator[None]:
    """Inside, running out of memory becomes one line that says what to do; other errors stay as they are."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # PyTorch on a CPU raises RuntimeError
        text = str(error)
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not any(words in text for words in NO_ROOM):
            raise
        raise Refused(
            f"{what} does not fit into the memory of {device}; use a smaller preset, --batch_size, --hidden, --deter "
            f"or --replay_size ({(text.splitlines() or ['-'])[0][-90:]})"
        ) from error
