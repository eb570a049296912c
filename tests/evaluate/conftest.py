from hypothesis import settings

# The first example of a kernel waits for its compilation: no deadline per example.
settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")
