"""The exercises, one file per notebook: cases, known mistakes, hints."""

from . import (n00_dream, n01_experience, n02_symlog, n03_two_hot, n04_latents, n05_rssm, n06_world_model, n07_imagination, n08_critic,
               n09_actor, n10_cartpole)

NOTEBOOKS = {"00": n00_dream, "01": n01_experience, "02": n02_symlog, "03": n03_two_hot, "04": n04_latents, "05": n05_rssm,
             "06": n06_world_model, "07": n07_imagination, "08": n08_critic, "09": n09_actor, "10": n10_cartpole}
EXERCISES = {exercise.name: exercise for notebook in NOTEBOOKS.values() for exercise in notebook.EXERCISES}
