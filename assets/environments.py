"""Tries the command line on environments that others wrote: `python assets/make.py environments [NAME …]`.

Each gets a virtual environment in a temporary folder that sees the packages of this Python, PyTorch among them, and
its own pinned packages before them. There, the command that a user would type trains and evaluates a tiny agent. What
came of it is kept at once as a row of environments.csv, and the table of docs/worlds.md is written anew.
"""

from collections.abc import Sequence
import csv
from importlib.metadata import version
from itertools import groupby
import json
import os
from pathlib import Path
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from typing import NamedTuple
import venv

ASSETS = Path(__file__).parent
ROWS, PAGE = ASSETS / "environments.csv", ASSETS.parent / "docs" / "worlds.md"
BEGIN, END = "<!-- python assets/make.py environments writes this table -->", "<!-- end of the table -->"
COLUMNS = ("name", "packages", "command", "result", "sees", "does", "says", "versions")
SECONDS = 180  # of one run; installing may take longer
# A tiny agent: about ten train steps, and an evaluation of two short episodes.
TINY = """--preset debug --steps 200 --until steps --envs 1 --replay_size 300 --eval_envs 2 --eval_steps 50 --device cpu
    --threads 1""".split()


class Entry(NamedTuple):
    """Pinned packages as `pip install` takes them, and what follows `python -m dreamer_lite`.

    over: installed afterwards, with --no-deps, over what a package pins: most often a Gymnasium before 1.1.
    """

    packages: str
    command: str
    over: str = ""

    @property
    def pins(self) -> list[str]:
        return self.packages.split() + self.over.split()


ENVIRONMENTS = {
    # Gymnasium's own
    "lunar-lander": Entry("gymnasium==1.4.0 box2d==2.3.10", "--env LunarLander-v3"),
    "bipedal-walker": Entry("gymnasium==1.4.0 box2d==2.3.10", "--env BipedalWalker-v3"),
    "car-racing": Entry("gymnasium==1.4.0 box2d==2.3.10", "--env CarRacing-v3 --pixels 64"),
    "half-cheetah": Entry("gymnasium[mujoco]==1.4.0 mujoco==3.3.0", "--env HalfCheetah-v5"),
    "reacher-pixels": Entry("gymnasium[mujoco]==1.4.0 mujoco==3.3.0", "--env Reacher-v5 --pixels 64"),
    # grids, puzzles and boards
    "minigrid": Entry("minigrid==3.2.0", "--env minigrid:MiniGrid-DoorKey-6x6-v0 --ignore mission"),
    "minigrid-mission": Entry("minigrid==3.2.0", "--env minigrid:MiniGrid-GoToDoor-5x5-v0"),
    "minigrid-pixels": Entry(
        "minigrid==3.2.0",
        "--env minigrid:MiniGrid-MemoryS7-v0 --wrap minigrid.wrappers:RGBImgPartialObsWrapper --ignore mission"
        " --pixels 64",
    ),
    "babyai": Entry(
        "minigrid==3.2.0", "--env minigrid:BabyAI-GoToObj-v0 --wrap minigrid.wrappers:FullyObsWrapper --ignore mission"
    ),
    "simplegrid": Entry("gym-simplegrid==1.1.0", "--env gym_simplegrid:SimpleGrid-8x8-v0"),
    "numberlink": Entry("numberlink==0.1.7", "--env numberlink:NumberLinkRGB-v0"),
    "sudoku": Entry("gymnasium-sudoku==0.3.5", "--env gymnasium_sudoku:sudoku-v0"),
    "2048": Entry("gymnasium-2048==0.1.2", "--env gymnasium_2048:gymnasium_2048/TwentyFortyEight-v0"),
    "tile-match": Entry(
        "tile-match-gym==1.0.6",
        "--env tile_match_gym:TileMatch-v0 --env_args num_rows=6 num_cols=6 num_colours=4 num_moves=20"
        " colourless_specials=[] colour_specials=[]",
    ),
    "pickomino": Entry("pickomino-env==1.4.1", "--env pickomino_env:Pickomino-v0"),
    "tetris": Entry("tetris-gymnasium==0.3.1", "--env tetris_gymnasium.envs:tetris_gymnasium/Tetris"),
    "tic-tac-toe": Entry("pettingzoo==1.27.0 rlcard==1.2.0", "--env environment_adapters:TicTacToe-v0"),
    "foraging": Entry(
        "lbforaging==2.0.0", "--env lbforaging:Foraging-8x8-2p-2f-v3 --wrap environment_adapters:first_agent"
    ),
    "warehouse": Entry("rware==2.0.0", "--env rware:rware-tiny-2ag-v2 --wrap environment_adapters:first_agent"),
    "warehouse-two": Entry("rware==2.0.0", "--env rware:rware-tiny-2ag-v2"),
    # games
    "atari": Entry(
        "ale-py==0.12.1",
        "--env ale_py:ALE/Breakout-v5 --env_args frameskip=1 --wrap gymnasium.wrappers:AtariPreprocessing --pixels 64",
    ),
    "atari-ram": Entry("ale-py==0.12.1", "--env ale_py:ALE/Pong-v5 --env_args obs_type=ram"),
    "minatar": Entry("minatar==1.0.15", "--env minatar_envs:MinAtar/Asterix-v1"),
    "crafter": Entry("crafter==1.8.3", "--env environment_adapters:Crafter-v0"),
    "flappy-bird": Entry("flappy-bird-gymnasium==0.4.0", "--env flappy_bird_gymnasium:FlappyBird-v0"),
    "boing": Entry("boing-gym==0.1.0", "--env boing_gym:Boing-v0"),
    "zelda": Entry("gym-zelda-pygame==0.1.9", "--env gym_zelda_pygame:ZeldaCC-v0 --pixels 64"),
    "mario": Entry(
        "gym-super-mario-bros==7.4.0 nes-py==8.2.1 gym==0.26.2 shimmy==2.0.1 numpy==1.26.4",
        "--env environment_adapters:Mario-v0 --pixels 64",
    ),
    "vizdoom": Entry(
        "vizdoom==1.3.2",
        "--env vizdoom.gymnasium_wrapper:VizdoomBasic-v1 --env_args frame_skip=4 --see screen --pixels 64",
    ),
    "vizdoom-buttons": Entry(
        "vizdoom==1.3.2", "--env vizdoom.gymnasium_wrapper:VizdoomBasic-MultiBinary-v1 --see screen --pixels 64 --gray"
    ),
    "nethack": Entry("nle==1.3.0", "--env nle:NetHackScore-v0 --see 'blstats|glyphs'"),
    "miniworld": Entry("miniworld==2.1.0", "--env environment_adapters:MiniWorld-v0 --pixels 64"),
    # memory
    "popgym": Entry("popgym==1.0.7", "--env popgym:popgym-RepeatPreviousEasy-v0"),
    "popgym-cards": Entry("popgym==1.0.7", "--env popgym:popgym-ConcentrationEasy-v0"),
    "memory-gym": Entry("memory-gym==1.0.2", "--env memory_gym:MysteryPath-v0 --pixels 64", "gymnasium==1.4.0"),
    "bsuite": Entry("shimmy==2.0.1 bsuite==0.3.6", "--env shimmy:bsuite/catch-v0"),
    "neurogym": Entry("neurogym==2.3.1", "--env neurogym:PerceptualDecisionMaking-v0", "gymnasium==1.4.0"),
    "active-perception": Entry("ap-gym==0.7.0 aiohttp==3.13.2", "--env ap_gym:LightDark-v0"),
    # robots and physics
    "dm-control": Entry(
        "shimmy==2.0.1 dm-control==1.0.28 mujoco==3.3.0 imageio==2.37.0", "--env shimmy:dm_control/cartpole-swingup-v0"
    ),
    "dm-control-pixels": Entry(
        "shimmy==2.0.1 dm-control==1.0.28 mujoco==3.3.0 imageio==2.37.0",
        "--env shimmy:dm_control/walker-walk-v0 --pixels 64",
    ),
    "fetch": Entry("gymnasium-robotics==1.4.2 mujoco==3.3.0", "--env gymnasium_robotics:FetchReach-v4"),
    "maze": Entry(
        "gymnasium-robotics==1.4.2 mujoco==3.3.0", "--env gymnasium_robotics:PointMaze_UMaze-v3 --ignore achieved_goal"
    ),
    "kitchen": Entry("gymnasium-robotics==1.4.2 mujoco==3.3.0", "--env gymnasium_robotics:FrankaKitchen-v1"),
    "metaworld": Entry("metaworld==3.1.1", "--env metaworld:Meta-World/MT1 --env_args env_name=reach-v3"),
    "pusht": Entry("gym-pusht==0.1.8", "--env gym_pusht:gym_pusht/PushT-v0"),
    "pusht-pixels": Entry(
        "gym-pusht==0.1.8",
        "--env gym_pusht:gym_pusht/PushT-v0 --env_args obs_type=pixels_agent_pos observation_width=64"
        " observation_height=64",
    ),
    "panda": Entry("panda-gym==3.0.7", "--env panda_gym:PandaReach-v3"),
    "bullet": Entry("pybullet-envs-gymnasium==0.6.0", "--env pybullet_envs_gymnasium:HopperBulletEnv-v0"),
    "pyflyt": Entry("pyflyt==0.29.0", "--env PyFlyt.gym_envs:PyFlyt/QuadX-Hover-v4"),
    "myosuite": Entry("myosuite==3.0.0", "--env myosuite:myoElbowPose1D6MRandom-v0"),
    "swing-up": Entry("gymnasium-cartpole-swingup==0.1.8", "--env gymnasium_cartpole_swingup:CartPoleSwingUp-v0"),
    "sailing": Entry("gym-sailing==0.2.1", "--env gym_sailing:Sailboat-v0"),
    # roads, machines, money and medicine
    "highway": Entry("highway-env==1.12.1", "--env highway_env:highway-fast-v0"),
    "parking": Entry("highway-env==1.12.1", "--env highway_env:parking-v0"),
    "search-race": Entry(
        "gymnasium-search-race==4.1.1", "--env gymnasium_search_race:gymnasium_search_race/SearchRace-v3"
    ),
    "motor": Entry("gym-electric-motor==3.0.3", "--env gym_electric_motor:Cont-CC-PMSM-v0"),
    "motor-switches": Entry("gym-electric-motor==3.0.3", "--env gym_electric_motor:Finite-CC-PMSM-v0"),
    "power-grid": Entry("grid2op==1.12.6", "--env environment_adapters:PowerGrid-v0"),
    "stocks": Entry("gym-anytrading==2.0.0", "--env gym_anytrading:stocks-v0"),
    "trading": Entry("gym-trading-env==0.3.5", "--env environment_adapters:Trading-v0"),
    "glucose": Entry(
        "simglucose==0.2.11 setuptools==80.9.0 scipy==1.15.3 numpy==1.26.4",
        "--env environment_adapters:Glucose-v0",
        "gymnasium==1.4.0",
    ),
    "network-attack": Entry("nasim==0.12.0", "--env nasim:Tiny-v0"),
    # several rewards, hybrid actions
    "treasure": Entry("mo-gymnasium==1.3.2", "--env mo_gymnasium:deep-sea-treasure-v0"),
    "treasure-sum": Entry(
        "mo-gymnasium==1.3.2", "--env mo_gymnasium:deep-sea-treasure-v0 --wrap environment_adapters:sum_of_rewards"
    ),
    "platform": Entry("hybrid-platform==0.1.0 numba==0.62.1", "--env gym_platform:Platform-v0"),
    # JAX
    "gymnax": Entry("gymnax==1.0.1", "--env environment_adapters:Gymnax-v0 --env_args name=SpaceInvaders-MinAtar"),
    "gymnax-memory": Entry("gymnax==1.0.1", "--env environment_adapters:Gymnax-v0 --env_args name=MemoryChain-bsuite"),
    "jumanji": Entry("jumanji==1.1.2", "--env environment_adapters:Jumanji-v0 --env_args name=Snake-v1"),
    "jumanji-2048": Entry("jumanji==1.1.2", "--env environment_adapters:Jumanji-v0 --env_args name=Game2048-v1"),
}


def record(names: Sequence[str] = ()) -> None:
    """Try the environments named, or all; those with the same packages in the same virtual environment."""
    for entry, group in groupby(names or ENVIRONMENTS, lambda name: ENVIRONMENTS[name]._replace(command="")):
        with tempfile.TemporaryDirectory() as folder:
            python, refusal = install(entry, Path(folder))
            for name in group:
                row = {"name": name, "packages": " ".join(entry.pins), "command": ENVIRONMENTS[name].command}
                row |= {"result": "not installed", "says": refusal} if refusal else try_out(name, python, Path(folder))
                row["versions"] = versions(python)
                keep(row)
                print(f"{name}: {row['result']}. {row.get('says', '')}", flush=True)


def install(entry: Entry, folder: Path) -> tuple[Path, str]:
    """Make the virtual environment; returns its Python, and why pip refused ("" if it didn't)."""
    venv.create(folder / "venv", symlinks=os.name == "posix")
    inside = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    ours = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (Path(sysconfig.get_path("purelib", vars=inside)) / "current.pth").write_text("\n".join(sorted(ours)) + "\n")
    python = Path(sysconfig.get_path("scripts", vars=inside)) / Path(sys.executable).name
    (folder / "constraints.txt").write_text(f"torch=={version('torch').split('+')[0]}\n")
    for pins, extra in ((entry.packages, ["--constraint", folder / "constraints.txt"]), (entry.over, ["--no-deps"])):
        if pins:
            words = ["-m", "pip", "--python", python, "install", "--quiet", "--no-input", *extra, *pins.split()]
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
                return python, without_paths((errors or done.stderr.splitlines())[-1], folder)
    return python, ""


def try_out(name: str, python: Path, folder: Path) -> dict[str, str]:
    """Run the command; returns the result, what the agent sees and does, and what the run said."""
    from dreamer_lite.config import Spaces
    from dreamer_lite.training.checkpoint import read_data

    work = folder / name
    work.mkdir()
    for module in ("environment_adapters.py", "minatar_envs.py"):
        shutil.copy(ASSETS / module, work)
    words = [python, "-m", "dreamer_lite", *shlex.split(ENVIRONMENTS[name].command), *TINY, "--out", work / "run"]
    late, code = False, 0
    with open(work / "out", "w+") as out, open(work / "err", "w+") as err:
        run = subprocess.Popen(
            words,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ASSETS.parent.resolve()), "PYTHONWARNINGS": "ignore"},
        )
        try:
            code = run.wait(SECONDS)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            stop(run)
        err.seek(0)
        lines = [line for line in err.read().splitlines() if line.strip() and "raised this error" not in line]
    if late:
        return {"result": "fails", "says": f"took more than {SECONDS} seconds"}
    if code:
        refusals = [line for line in lines if line.startswith("dreamer_lite: ")]
        says = (refusals if code == 2 and refusals else lines or [f"ended with code {code}"])[-1]
        return {"result": "refused" if code == 2 else "fails", "says": without_paths(says, folder)}
    card = json.loads((work / "run" / "card.json").read_text())
    spaces = Spaces(**read_data(work / "run" / "checkpoint.pt")["spaces"])
    trained = card["finished"] and card["train_steps"] and all(card["final_evaluation"].values())
    notes = "; ".join(note for note in card["notes"] if "--eval_steps" not in note)  # short on purpose
    result = {"result": "works" if trained else "fails", "says": without_paths(notes, folder)}
    return result | {"sees": spaces.observation_words, "does": spaces.action_words}


def stop(run: subprocess.Popen) -> None:
    """End the run and all that it started."""
    if os.name == "posix":
        try:
            os.killpg(run.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    else:
        run.kill()
    run.wait()


def without_paths(line: str, folder: Path) -> str:
    """A line without colours, addresses in memory, and the folders of this machine."""
    line = re.sub(r"0x[0-9a-f]{6,}", "0x…", re.sub(r"\x1b\[[0-9;]*m", "", line))
    for path, word in ((folder, "…"), (ASSETS.parent.resolve(), "…"), (Path(sys.prefix), "…"), (Path.home(), "~")):
        line = line.replace(str(path), word)
    return line.removeprefix("dreamer_lite: ")


def versions(python: Path) -> str:
    """Python's version and those of the packages that matter for every run."""
    code = (
        "import platform, importlib.metadata as m; print('python', platform.python_version(), *(f'{p} {m.version(p)}'"
    )
    code += " for p in ('gymnasium', 'numpy', 'torch')), sep='|')"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return ", ".join(done.stdout.strip().replace("python|", "python ").split("|"))


def kept() -> dict[str, dict[str, str]]:
    """The rows of environments.csv by name."""
    if not ROWS.exists():
        return {}
    with open(ROWS, newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def keep(row: dict[str, str]) -> None:
    """Put a row in place of the one with its name, drop those that ENVIRONMENTS no longer has, and write the table."""
    rows = kept() | {row["name"]: row}
    with open(ROWS, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in ENVIRONMENTS if name in rows)
    write_between(PAGE, BEGIN, END, table())


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Put a text between two lines of a page, in place of what was there."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}", encoding="utf-8")


def table() -> str:
    """The rows as a table for docs/worlds.md."""
    lines = ["| packages | options | sees | chooses | result |", "|---|---|---|---|---|"]
    for row in kept().values():
        says = row["says"] if len(row["says"]) <= 240 else f"{row['says'][:240]}…"
        result = f"{row['result']}: {says}" if says else row["result"]
        cells = (row["packages"], f"`{row['command']}`", row["sees"], grouped(row["does"]), result)
        lines.append(f"| {' | '.join(escaped(cell) for cell in cells)} |")
    return "\n".join(lines)


def escaped(cell: str) -> str:
    return cell.replace("|", r"\|").replace("<", "&lt;")


def grouped(words: str) -> str:
    """Equal choices side by side are counted: "1 of 2 and 1 of 2" becomes "2 times 1 of 2"."""
    parts = [(part, len(list(same))) for part, same in groupby(words.split(" and "))]
    return " and ".join(part if count == 1 else f"{count} times {part}" for part, count in parts)
