"""The speed of this project, compared with the alternatives.

    python -m experiments.benchmark
    python -m experiments.benchmark --rows=mlp_vae,iwae_mlp --rounds=9 --cpu_threads=2
    python -m experiments.benchmark --rows=mlp_vae,convolutional_vae --device=gpu

A row is one piece of work, done in several ways: by this project, which trains by `training.fit`, timed from the end of
one step to the end of another, without evaluations, and in some rows also with `--portable_bits`; by a JAX program of
the usual kind, which dispatches one jitted step at a time and sends it a batch from the host; and, if the extra `bench`
is installed, by PyTorch, with and without `torch.compile`, and by pythae's trainer. On a GPU neither portable bits nor
pythae is measured, and some rows have PyTorch's steps as CUDA graphs.

Each way has its own process. The ways start one after another and then take turns. A busy machine does not slow all of
them alike, so that ratios are printed only if other programs took less than a tenth of a core, or with --busy. The
columns are

    steps/s   the median rate, with the slowest and the fastest round
    ratio     this project's median divided by that of the way
    first     seconds from the start of the process to the end of its first step, everything compiled anew
    whole     that plus one round, in seconds
    memory    peak memory of the process, in MiB
    of peak   the arithmetic by which its layers are defined over the rate of a large product, taken in the same turns

`experiments.benchmark.scaling` measures how the cost of training grows with the work.
"""
