"""How fast the systems are on this machine, beside torchvision's where it is installed: `videre bench`.

Each side is a process of its own, and they take turns: a busy moment meets them all, and none leaves its memory or its
threads to the next. Both have the same weights and pictures, drawn by a rule, and must find the same things.
"""
