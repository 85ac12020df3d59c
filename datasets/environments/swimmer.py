"""The model of a swimmer of many segments, as gymnasium-robotics builds it for its teams.

A chain of capsules in a viscous fluid, moved at its joints (Schroeder de Witt et al. 2020,
"ManyAgent Swimmer"). Numbers are those of gymnasium-robotics 1.4.2, ``ManySegmentSwimmer``: joints
of alternating sense, geared by 150, and torques in [-1, 1].
"""

_CAPSULE = '<geom density="1000" fromto="0 0 0 -1 0 0" size="0.1" type="capsule"/>'
_HINGE = (
    '<joint axis="0 0 {axis}" limited="true" name="rot{index}" pos="0 0 0" range="-100 100" '
    'type="hinge"/>'
)
_MOTOR = '<motor ctrllimited="true" ctrlrange="-1 1" gear="150.0" joint="rot{index}"/>'

_FRAME = """<mujoco model="swimmer">
  <compiler angle="degree" inertiafromgeom="true"/>
  <option density="4000" integrator="RK4" timestep="0.01" viscosity="0.1"/>
  <default>
    <geom conaffinity="0" condim="1" contype="0" rgba="0.8 0.6 .4 1"/>
    <joint armature="0.1"/>
  </default>
  <asset>
    <texture builtin="gradient" height="100" rgb1="1 1 1" rgb2="0 0 0" type="skybox" width="100"/>
    <texture builtin="checker" height="100" name="floor" rgb1="0 0 0" rgb2="0.8 0.8 0.8" type="2d"
      width="100"/>
    <material name="floor" texrepeat="30 30" texture="floor"/>
  </asset>
  <worldbody>
    <light cutoff="100" diffuse="1 1 1" dir="0 0 -1.3" directional="true" exponent="1"
      pos="0 0 1.3" specular=".1 .1 .1"/>
    <geom condim="3" material="floor" name="floor" pos="0 0 -0.1" rgba="0.8 0.9 0.8 1"
      size="40 40 0.1" type="plane"/>
    <body name="torso" pos="0 0 0">
      <camera name="track" mode="trackcom" pos="0 -3 3" xyaxes="1 0 0 0 1 1"/>
      <geom density="1000" fromto="1.5 0 0 0.5 0 0" size="0.1" type="capsule"/>
      <joint axis="1 0 0" name="slider1" pos="0 0 0" type="slide"/>
      <joint axis="0 1 0" name="slider2" pos="0 0 0" type="slide"/>
      <joint axis="0 0 1" name="rot" pos="0 0 0" type="hinge"/>
      {chain}
    </body>
  </worldbody>
  <actuator>{motors}</actuator>
</mujoco>"""


def model_file(segments: int) -> str:
    """Return the model of a swimmer with ``segments`` joints, as MuJoCo's XML."""
    chain = ""
    for index in reversed(range(segments)):
        # The first two joints and the last turn one way, those between in alternation.
        turns_back = 0 < index < segments - 1 and index % 2 == 0
        hinge = _HINGE.format(axis=-1 if turns_back else 1, index=index)
        place = "0.5 0 0" if index == 0 else "-1 0 0"
        chain = f'<body name="segment{index}" pos="{place}">{_CAPSULE}{hinge}{chain}</body>'
    motors = "".join(_MOTOR.format(index=index) for index in range(segments))
    return _FRAME.format(chain=chain, motors=motors)
