"""A study of disentanglement: models x strengths x seeds on a data set whose factors are known, measured and tabulated.

    python -m experiments.disentanglement --out=DIR
    python -m experiments.disentanglement --beta_vae=1 --beta_tcvae=3,5 --factor_vae= --dip_vae_i= --dip_vae_ii=
    python -m experiments.disentanglement --runs=runs/a,runs/b --out=DIR

Each cell is a run of `experiments.vae`, in a directory of its own below --out. The same command goes on where it was
interrupted: cells that are trained and measured are not touched again. With --runs, finished runs are measured instead.
The reconstruction term has the weight 0.3 in all models. At weight 1 the codes of such small pictures are almost free
of noise, and the penalties leave the axes of the code mixed.

Codes are measured on every example of both splits, which are the whole population. In the directory of each run are
its codes (disentanglement.npz), measures (disentanglement.json) and walks along the dimensions (traversals.png); in
--out, the table of means over seeds and their standard errors (disentanglement.md, .csv and .json). The measures are:

    mig                  mutual information gap, exact from q(z|x) (Chen et al. 2018); higher is better
    binned_mig           that of posterior means in 20 bins
    mig_FACTOR           the gap of one factor
    dci_disentanglement, dci_completeness, dci_informativeness     of random forests (Eastwood & Williams 2018)
    sap                  separated attribute predictability (Kumar et al. 2018)
    beta_vae_score       Higgins et al. 2017
    factor_vae_score     Kim & Mnih 2018
    modularity           Ridgeway & Mozer 2018
    irs                  interventional robustness (Suter et al. 2019)
    udr                  agreement with the other seeds, without factors (Duan et al. 2020)
    active_units         dimensions whose posterior mean varies; FactorVAE score, modularity and UDR are of these
    total_correlation    of q(z), and gaussian_total_correlation of the means; lower is better
    information          I(x; z), at most the logarithm of the number of examples
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import vae as vae_page
from experiments.compare import markdown
from genjax import data, runs
from genjax.data import sprites
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import disentanglement, factor_prediction, latent
from genjax.models import vae
from genjax.paths import expand_user
from genjax.runs import Record, assembling, command, directory, flag, opening, provenance, rows
from genjax.runs.settings import figure_formats

MEASURES, CODES = "disentanglement.json", "disentanglement.npz"  # in the directory of each run
SHOWN = ("mig", "dci_disentanglement", "sap", "beta_vae_score", "factor_vae_score", "udr", "total_correlation")
LEVELS = 11  # pictures of each walk


def strengths(default: tuple[float, ...], help: str) -> Any:
    """The flag of a model's strengths."""
    return flag(default, f"strengths of the {help}; none to leave it out", at_least=0, may_be_empty=True)


class Flags(Record):
    """Disentanglement."""

    beta_vae: tuple[float, ...] = strengths((1, 2, 4), "beta-VAE, beta; 1 is the VAE")
    beta_tcvae: tuple[float, ...] = strengths((3, 5, 9), "beta-TCVAE, beta")
    factor_vae: tuple[float, ...] = strengths((10, 20, 40), "FactorVAE, gamma")
    dip_vae_i: tuple[float, ...] = strengths((1, 5, 20), "DIP-VAE-I, lambda_od")
    dip_vae_ii: tuple[float, ...] = strengths((1, 5, 20), "DIP-VAE-II, lambda_od")
    num_seeds: int = flag(3, "number of runs of each model at each strength", at_least=1, at_most=1000)
    seed: int = flag(0, "the first seed", at_least=0, at_most=2**32 - 1)
    dataset: str = flag("sprites", "data set whose factors are known", choices=sprites.GRIDS)
    num_steps: int = flag(5000, "number of updates of each run", at_least=1)
    batch_size: int = flag(256, "number of examples per update, by which a beta-TCVAE estimates q(z)", at_least=1)
    learning_rate: float = flag(1e-3, "learning rate", at_least=0)
    distortion_weight: float = flag(
        0.3,
        "weight of the reconstruction term in all models; at 1, codes of small pictures are almost free of noise",
        at_least=0,
    )
    network: str = flag("mlp", "architecture of the encoder and the decoder", choices=("mlp", "convolutional"))
    hidden: tuple[int, ...] = flag((256, 128), "widths of the MLP encoder's hidden layers", at_least=1)
    latent_dim: int = flag(6, "number of latent dimensions", at_least=1)
    runs: tuple[str, ...] = flag((), "directories of finished runs to measure instead", may_be_empty=True)
    out: str = flag("disentanglement", "output folder")
    figure_formats: tuple[str, ...] = figure_formats()


def cells(flags: Flags) -> Iterator[tuple[str, vae_page.Flags]]:
    """The name and the flags of each run of the study, seeds of one model side by side."""
    kinds: dict[str, tuple[tuple[float, ...], Any]] = {
        "beta_vae": (flags.beta_vae, lambda beta: {"rate_weight": beta}),
        "beta_tcvae": (flags.beta_tcvae, lambda beta: _regularized("total_correlation", beta - 1)),
        "factor_vae": (flags.factor_vae, lambda gamma: _regularized("factor", gamma)),
        "dip_vae_i": (flags.dip_vae_i, lambda weight: _regularized("dip_i", weight)),
        "dip_vae_ii": (flags.dip_vae_ii, lambda weight: _regularized("dip_ii", weight)),
    }
    shared = ("dataset", "num_steps", "batch_size", "learning_rate", "distortion_weight")
    shared += ("network", "hidden", "latent_dim")
    common = vae_page.Flags(**{name: getattr(flags, name) for name in shared}, eval_every=flags.num_steps)
    for model, (values, changes) in kinds.items():
        for value, seed in itertools.product(values, range(flags.seed, flags.seed + flags.num_seeds)):
            yield f"{model} {value:g}, seed {seed}", common.replace(seed=seed, **changes(value))


def _regularized(name: str, weight: float) -> dict[str, Any]:
    if weight < 0:
        raise BadInput("the beta of a beta-TCVAE is at least 1", parameter="beta_tcvae")
    return {"regularizer": name, "regularizer_weight": weight}


class Codes(NamedTuple):
    """The posteriors of all examples, and the factors of these."""

    mean: np.ndarray  # [N, d]
    log_variance: np.ndarray  # [N, d]
    factors: np.ndarray  # [N, F]

    @property
    def active(self) -> np.ndarray:
        """The means of the dimensions that depend on the data, [N, d']."""
        return self.mean[:, np.asarray(latent.active_units(jnp.asarray(self.mean)))]


def population(dataset: data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Every example of both splits in the form that models take, and their factors.

    Raises:
      BadInput: a data set whose factors are not known.
    """
    if dataset.name not in sprites.GRIDS:
        raise BadInput(f"the factors of {dataset.name} are not known; those of {' and '.join(sprites.GRIDS)} are")
    x = np.concatenate([dataset.scaled(split) for split in (dataset.train, dataset.test)])
    return x, np.concatenate(sprites.factors(sprites.GRIDS[dataset.name]))


def encode(run: runs.Run) -> Codes:
    """The run's posteriors of the whole population."""
    x, factors = population(run.dataset)
    encoder = jax.jit(lambda params, x: jax.lax.map(lambda one: vae.encode(params, one, parts=run.parts), x))
    padded = np.resize(x, (-(-len(x) // 256), 256, *x.shape[1:]))
    mean, s = (np.asarray(a).reshape(-1, a.shape[-1])[: len(x)] for a in encoder(run.params, jnp.asarray(padded)))
    return Codes(mean, s, factors)


def measure(codes: Codes) -> dict[str, float]:
    """All measures of one run's codes."""
    mean, log_variance, factors = map(jnp.asarray, codes)
    information_key, rate_key = jax.random.split(jax.random.key(0))
    entropy, active = disentanglement.entropy(codes.factors), codes.active
    information = disentanglement.posterior_information(mean, log_variance, factors, information_key)
    gaps = disentanglement.information_gaps(information, entropy)
    binned = disentanglement.mutual_information(disentanglement.discretise(active), codes.factors)
    split = jax.jit(latent.rate_split)(mean, log_variance, rate_key)
    shape = (sprites.FACTORS.index("shape"),)
    found = {"mig": gaps.mean(), "binned_mig": disentanglement.information_gaps(binned, entropy).mean()}
    found |= {f"mig_{name}": gap for name, gap in zip(sprites.FACTORS, gaps, strict=True)}
    scores = factor_prediction.dci(codes.mean, codes.factors)
    found |= {f"dci_{name}": value for name, value in scores._asdict().items()}
    found |= {
        "sap": factor_prediction.separated_attribute_predictability(codes.mean, codes.factors, categorical=shape),
        "beta_vae_score": factor_prediction.beta_vae_score(codes.mean, codes.factors),
        "factor_vae_score": factor_prediction.factor_vae_score(active, codes.factors),
        "modularity": disentanglement.modularity(binned) if active.shape[1] else 0.0,
        "irs": disentanglement.interventional_robustness(active, codes.factors),
        "active_units": active.shape[1],
        "total_correlation": split.total_correlation,
        "gaussian_total_correlation": disentanglement.gaussian_total_correlation(active) if active.shape[1] else 0.0,
        "information": split.mutual_information,
    }
    return {name: float(value) for name, value in found.items()}


def draw(run: runs.Run, codes: Codes) -> None:
    """A walk along each dimension through the code of an example in the middle, from -2 to 2 of N(0, 1)."""
    order = np.argsort(-codes.mean.var(axis=0))
    levels = jnp.broadcast_to(jnp.linspace(-2, 2, LEVELS)[:, None], (LEVELS, codes.mean.shape[1]))
    middle = np.argmin(np.abs(codes.mean - np.median(codes.mean, axis=0)).sum(axis=1))
    walks = latent.traversals(jnp.asarray(codes.mean[middle]), levels)[order]
    images = vae.decode(run.params, walks.reshape(-1, walks.shape[-1]), parts=run.parts)
    pictures.save_captioned_grid(
        run.directory / "traversals.png",
        images.reshape(*walks.shape[:2], *images.shape[1:]),
        title="one dimension at a time, from -2 to 2; those whose means vary most come first",
        rows=[f"z{j + 1}" for j in order],
    )


def measured(path: Path, run: runs.Run | None = None) -> tuple[dict[str, float], Codes]:
    """The measures and codes of a finished run, which are computed and written to its directory once."""
    sha256 = directory.read_summary(path)["params_sha256"]
    if (path / MEASURES).is_file() and (path / CODES).is_file():
        known = directory.read_json(path / MEASURES)
        if known.get("params_sha256") == sha256:
            with np.load(path / CODES) as arrays:
                return known["measures"], Codes(*(arrays[name] for name in Codes._fields))
    run = opening.open(path) if run is None else run
    codes = encode(run)
    found = measure(codes)
    draw(run, codes)
    np.savez(path / CODES, **codes._asdict())
    directory.write_json(path / MEASURES, {"params_sha256": sha256, "measures": found})
    return found, codes


def train(flags: Flags, out: Path) -> list[Path]:
    """Trains and measures the cells that are not finished; the directories of all."""
    paths, planned = [], list(cells(flags))
    for number, (name, of_cell) in enumerate(planned, start=1):
        path = out / assembling.default_workdir(vae_page.EXPERIMENT, of_cell).name
        done = directory.is_finished(path)
        run = None if done else runs.train(vae_page.EXPERIMENT, of_cell, workdir=path)
        found, _ = measured(path, run)
        seconds = directory.read_summary(path)["seconds"]
        how = "already finished" if done else f"trained in {seconds:.0f} s"
        print(f"cell {number} of {len(planned)}: {name}: MIG {found['mig']:.3f}, {how}", flush=True)
        paths.append(path)
    return paths


def tabulate(paths: list[Path]) -> list[dict[str, Any]]:
    """For each configuration its flags, its runs, and each measure's values over the seeds."""
    table = []
    for row in rows.grouped([rows.read(path) for path in paths]):
        own = [run.record.workdir for run in row.runs]
        found = [measured(path) for path in own]
        values = {name: [measures[name] for measures, _ in found] for name in found[0][0]}
        if len(found) > 1:
            values["udr"] = disentanglement.unsupervised_ranking([codes.active for _, codes in found]).tolist()
        tests = [run.metrics for run in row.runs]
        values |= {name: [test[name] for test in tests] for name in ("negative_elbo", "distortion", "rate")}
        table.append({"flags": row.flags, "runs": [str(path) for path in own], "values": values})
    return table


def cell(values: list[float]) -> str:
    """Mean and standard error over the seeds."""
    error = f" ± {rows.standard_error(np.array(values)):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{error}"


def write(table: list[dict[str, Any]], out: Path) -> str:
    """Writes the table in Markdown, CSV and JSON; returns the Markdown."""
    shown = [name for name in SHOWN if name in table[0]["values"]]
    walks = [Path(row["runs"][0]) / "traversals.png" for row in table]
    links = [f"[traversals]({path.relative_to(out) if path.is_relative_to(out) else path})" for path in walks]
    heads = [*table[0]["flags"], "seeds", *shown, "walks"]
    lines = [
        [*row["flags"].values(), str(len(row["runs"])), *(cell(row["values"][name]) for name in shown), link]
        for row, link in zip(table, links, strict=True)
    ]
    text = markdown(heads, lines)
    (out / "disentanglement.md").write_text(text, encoding="utf-8")
    directory.write_json(out / "disentanglement.json", {"rows": table})
    names = list(dict.fromkeys(name for row in table for name in row["values"]))
    with open(out / "disentanglement.csv", "w", newline="") as file:
        writer = csv.writer(file)
        heads = [f"{name}{part}" for name in names for part in ("", "_standard_error")]
        writer.writerow([*table[0]["flags"], "seeds", *heads])
        for row in table:
            line: list[Any] = [*row["flags"].values(), len(row["runs"])]
            for name in names:
                values = np.array(row["values"].get(name, []))
                line.append(repr(float(values.mean())) if len(values) else "")
                line.append(repr(float(rows.standard_error(values))) if len(values) > 1 else "")
            writer.writerow(line)
    return text


def main(flags: Flags) -> None:
    """Trains what is missing, measures and tabulates."""
    out = expand_user(flags.out, parameter="out").absolute()
    provenance.refuse_output(out, parameter="out")
    out.mkdir(parents=True, exist_ok=True)
    paths = rows.found_in(flags.runs, parameter="runs") if flags.runs else train(flags, out)
    if not paths:
        raise BadInput("the study has no model; give one some strengths", parameter="beta_vae")
    text = write(tabulate(paths), out)
    print(text)
    print(f"{len(paths)} runs: {out}")


if __name__ == "__main__":
    command.run(main, Flags)
