#!/usr/bin/env bash
# Since MuJoCo 3.12, one of its enums equals a number from its own arrays only if the number stands on the left. Nobody
# writes it the other way round, but `in` does: Python compares each element of the tuple with what is looked for. So
# `joint_type in (HINGE, SLIDE)` is False for a hinge, and code that picks joints that way silently finds none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/show.py" <<'PYTHON'
import mujoco

model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><body><joint type="hinge"/><geom size=".1"/></body></worldbody></mujoco>'
)
hinge, slide, joint = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE, model.jnt_type[0]
print(
    f"mujoco {mujoco.__version__}: joint == hinge: {joint == hinge}; hinge == joint: {hinge == joint}; "
    f"joint in (hinge, slide): {joint in (hinge, slide)}; int(joint) in (hinge, slide): {int(joint) in (hinge, slide)}"
)
PYTHON
for version in 3.11.0 4.0.0; do  # an environment each: after an upgrade in place, mujoco 4 may miss its core
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "mujoco==$version" numpy==2.3.5 \
    $([ "$version" = 4.0.0 ] && echo mujoco-core==4.0.0 mujoco-studio==4.0.0)
  "$folder/$version/bin/python" "$folder/show.py" | tee -a "$folder/seen"
done
cat > "$folder/expected" <<'SEEN'
mujoco 3.11.0: joint == hinge: True; hinge == joint: True; joint in (hinge, slide): True; int(joint) in (hinge, slide): True
mujoco 4.0.0: joint == hinge: True; hinge == joint: False; joint in (hinge, slide): False; int(joint) in (hinge, slide): True
SEEN
if ! diff "$folder/expected" "$folder/seen"; then
  echo "this has changed" >&2
  exit 1
fi
