"""What the words of a diagnosis mean. Imports nothing: the help of a command shows it."""

DEFINITIONS = """\
IoU is that of masks at the image's size, pixels without a label (void) left out, in percent; means are over true \
instances, each weighing the same. An instance's IoU with a set of instances is its best with one of its class, 0 \
without any.

best proposal: of all, whatever they are labelled later. filtered: of those that the conditional network sees, after \
the filter by seeds or boxes and max_proposals. target from a seed: what outer iteration 1 learns from (soft targets \
by soft IoU). best of K, mean over K: over the K samples of pseudo labels. prediction: the network's instances of \
score 0.3 and more. ceiling: the same network trained on true masks.

found: IoU 0.5 and more. merged: covered at least by half together with a neighbour of the class. split: at least two \
instances lie in it and cover half of it. missed: none of these. spurious: an instance without IoU 0.5 with any true \
one of its class.

loss: points of IoU between a step and the one before; negative is a gain. The last step compares train with val.
"""
