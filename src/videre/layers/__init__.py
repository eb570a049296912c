"""What systems are built from: norms, convolution blocks, pyramid, anchors, matcher, losses."""
