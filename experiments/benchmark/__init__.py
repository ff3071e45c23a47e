"""How fast this project is beside what one would use in its place.

    python -m experiments.benchmark
    python -m experiments.benchmark --rows=mlp_vae,iwae_mlp --rounds=9 --cpu_threads=2

A row is one piece of work, done in several ways: by this project, by a JAX program of the usual kind, which dispatches
one jitted step at a time and sends it a batch from the host, and, where the extra `bench` is installed, by PyTorch, as
it is and by `torch.compile`, and by pythae's trainer. Every way is a process of its own. They start one after another,
and then take turns, so that a busy machine slows all of them alike; it prints for each

    steps/s   the median rate, with the slowest and the fastest round
    ratio     of this project's median to this one's
    first     seconds from the start of the process to the end of its first step, everything compiled anew
    whole     that and one round, in seconds
    memory    the most that the process held, in MiB
    of peak   the arithmetic of its matrix products over the rate of one large product, measured in the same turns
"""
