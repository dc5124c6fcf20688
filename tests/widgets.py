"""The widgets of the course."""

from collections.abc import Callable
from importlib import import_module

from dreamer_lite.course.explore import Explorer

# By notebook: each widget's module in the course, and the call that shows it.
WIDGETS = {
    "01_experience": [("n01_experience.alignment", "alignment_xray()")],
    "02_symlog": [("n02_symlog.scale_fit", "scale_explorer()")],
    "03_two_hot": [("n03_two_hot.two_hot_mover", "two_hot_mover()"), ("n03_two_hot.two_hot_mover", "peaks_explorer()")],
    "04_discrete_latents": [("n04_latents.dice", "dice_explorer()")],
    "05_rssm": [("n05_rssm.surprise", "causality_explorer()"), ("n05_rssm.surprise", "surprise_meter()")],
    "06_world_model": [("n06_world_model.gradient_flow", "gradient_flow()")],
    "07_imagination": [("n07_imagination.fan", "dream_fan()")],
    "08_critic": [("n08_critic.returns", "return_mixer()")],
    "09_actor": [("n09_actor.actor_lab", "scale_toy()"), ("n09_actor.actor_lab", "policy_map(schooling)")],
    "A1_break_it": [("a1_break_it.clinic", "clinic()")],
    "A2_pixels": [("a2_pixels.film", "dream_film()"), ("a2_pixels.film", "latent_painter()")],
    "A3_your_world": [
        ("a3_your_world.torque", "push_explorer(torque_terms)"),
        ("a3_your_world.torque", "torque_map(swinger, fresh)"),
        ("a3_your_world.torque", "torque_fan(swinger)"),
        ("a3_your_world.memory", "data_xray("),
        ("a3_your_world.memory", "ball_explorer(catcher, MyCatch)"),
    ],
}


def widget(module: str, call: str) -> Callable[..., Explorer]:
    """The function of an entry of WIDGETS."""
    return getattr(import_module(f"dreamer_lite.course.{module}"), call.partition("(")[0])
