"""What the words of a diagnosis mean. Imports nothing: the help of a command shows it."""

DEFINITIONS = """\
IoU is that of masks at the image's size, pixels without a label (void) left out, in percent; means are over true \
instances, each weighing the same. An instance's IoU with a set of instances is its best with one of its class, 0 \
without any.

alone, among several: of its class in the image. touching: within two pixels of another of its class (six, where \
pixels without a label lie between). given masks, weak labels: in images of which a person has given the masks, and in \
all others. Sizes are shares of the image.

seeds: of its class, that lie in an instance. cells: best union of superpixels, beyond which no proposal can go. \
pool: best of all candidates before selection (with --pool), cuts made for boxes not among \
them. kept: best of all proposals, whatever they are labelled \
later. filter: best of those that seeds or boxes let pass. max: best of those within max_proposals, which the \
conditional network sees. target (from a seed): what outer iteration 1 learns from (soft targets by soft IoU). best, \
mean: best of the K samples of pseudo labels, mean over them. prediction: the network's instances of score 0.3 and \
more. ceiling: the same network trained on true masks.

found: IoU 0.5 and more. merged: covered at least by half together with a neighbour of the class. split: at least two \
instances lie in it and cover half of it. missed: none of these. spurious: an instance without IoU 0.5 with any true \
one of its class. twice: instances beyond the first that find the same true one.

box fits: the boxes of a box and a proposal have IoU 0.8 or more. no label: boxes for which no label of a sample \
stands. outside: share of a label's pixels outside of its box.

loss: points of IoU between a step and the one before; negative is a gain. The last step compares train with val.
"""
