"""Makes a folder of the packages that a machine for `gpu_day.py` may lack: `python assets/make.py wheels --out FOLDER`.

That machine is taken to have Python 3.12 on Linux (x86-64), PyTorch 2.11 for CUDA 13, JAX 0.11, NumPy 2.5, Matplotlib,
pytest, Hypothesis, tqdm, Pillow and TensorBoard with all that they need, and no network. It lacks Gymnasium and tyro,
what draws CartPole (pygame, OpenCV), and what runs a notebook. FOLDER/wheels holds them as they were downloaded,
FOLDER/site unpacked. Nothing is installed into the system: copy FOLDER there, then, from the repository's root,

    PYTHONPATH=.:FOLDER/site python assets/make.py gpu --out RESULTS
"""

import argparse
from pathlib import Path
import subprocess
import sys

PINS = """
gymnasium==1.4.0 cloudpickle==3.1.3 Farama-Notifications==0.0.6
tyro==1.0.17 docstring_parser==0.18.0 typeguard==4.6.1
pygame==2.6.1 opencv-python-headless==5.0.0.93
nbclient==0.11.0 nbformat==5.11.1 fastjsonschema==2.22.3 jsonschema==4.26.0 jsonschema-specifications==2025.9.1
referencing==0.37.0 rpds-py==2026.9.1 attrs==26.1.0
jupyter_client==8.10.0 jupyter_core==5.9.1 platformdirs==4.14.8 traitlets==5.16.1 tornado==6.6.1 pyzmq==27.3.0
ipykernel==7.4.0 comm==0.2.3 debugpy==1.8.22 nest-asyncio2==1.7.4 psutil==7.2.2
ipython==9.18.1 ipython_pygments_lexers==1.1.1 jedi==0.20.1 parso==0.8.7 matplotlib-inline==0.2.2 pexpect==4.9.0
ptyprocess==0.7.0 prompt_toolkit==3.0.53 wcwidth==0.9.4 stack-data==0.6.3 executing==2.3.0 asttokens==3.0.2
pure_eval==0.2.4
ipywidgets==8.1.9 jupyterlab_widgets==3.0.17 widgetsnbextension==4.0.16
""".split()
FOR = "--only-binary=:all: --python-version 3.12 --implementation cp --abi cp312 --abi abi3 --abi none".split()
FOR += [word for tag in ("2_28", "2_17", "2_12", "2_5") for word in ("--platform", f"manylinux_{tag}_x86_64")]
FOR += ["--platform", "manylinux2014_x86_64"]


def make(out: Path) -> None:
    wheels, site = out / "wheels", out / "site"
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "download", "--quiet", "--no-deps", *FOR, "--dest", wheels, *PINS], check=True)
    unpack = [
        *pip,
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--upgrade",
        *FOR,
        "--target",
        site,
    ]
    subprocess.run([*unpack, *sorted(wheels.glob("*.whl"))], check=True)
    size = sum(file.stat().st_size for file in wheels.iterdir()) / 1e6
    print(f"{len(PINS)} packages, {size:.0f} MB, in {wheels}; unpacked in {site}")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python assets/make.py wheels", description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder, made if it isn't there")
    make(parser.parse_args(words).out.absolute())
    return 0
