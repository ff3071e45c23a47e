"""Curves of rate against PSNR: PCA and the DCT as baselines, what is drawn of them, and the differences in rate."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genjax import data
from genjax.drawing import charts, pictures
from genjax.evaluation import rate_distortion, transform_coding
from genjax.evaluation.transform_coding import Point, curve
from genjax.runs import directory
from genjax.training import concluding

PCA_STEPS, QUALITIES = np.geomspace(0.15, 6, 14), (2, 4, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)
AT_MOST = 10000  # training images that frequencies are counted on and PCA is fitted to


Points = Mapping[str, Mapping[str, Point]]  # method -> setting -> point, the page's own method first
Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]  # method -> rates and PSNRs


def baselines(dims: Sequence[int], folder: Path, x: np.ndarray, known: np.ndarray) -> dict[str, dict[str, Point]]:
    """PCA and the DCT at many settings, with frequencies counted on other images; the files are in `folder`."""
    return {
        "pca": pca_points(dims, folder, x, known),
        "dct": transform_coding.dct_points(
            folder, x, known, qualities=concluding.shown(QUALITIES, "qualities of the DCT", num=len(QUALITIES))
        ),
    }


def known_images(dataset: data.Dataset) -> np.ndarray:
    """Training images for frequencies and components, in the scale of the examples."""
    return (dataset.train.sample(AT_MOST).x / dataset.scale).astype(np.float32)


def save(workdir: Path, x: np.ndarray, points: Points) -> Curves:
    """Writes rate_distortion.json, the curves and the examples; returns the upper envelope of each method's points."""
    table = {
        method: {setting: point.measures() for setting, point in settings.items()}
        for method, settings in points.items()
    }
    directory.write_json(workdir / "rate_distortion.json", table)
    curves = {method: curve(settings.values()) for method, settings in points.items()}
    save_curves(workdir / "rate_distortion.png", points, curves)
    save_examples(workdir / "reconstructions.png", x, points)
    return curves


def pca_points(dims: Sequence[int], folder: Path, x: np.ndarray, known: np.ndarray) -> dict[str, Point]:
    """Every width at every step; one step for all components allocates the bits by reverse water-filling."""
    from sklearn.decomposition import PCA

    flat, flat_known = (images.reshape(len(images), -1).astype(np.float64) for images in (x, known))
    most = min(flat_known.shape)
    points = {}
    widths = sorted({min(dim, most) for dim in (*dims, 32, 64)})
    for dim in concluding.shown(widths, "widths of PCA", num=len(widths)):
        pca = PCA(dim, svd_solver="covariance_eigh").fit(flat_known)
        values, known_values = pca.transform(flat), pca.transform(flat_known)
        for step in PCA_STEPS:
            quantiser, name = rate_distortion.with_step(known_values, step=step), f"d{dim}_step{step:.3g}"
            points[name] = transform_coding.measure(
                folder / f"pca_{name}.bin",
                values,
                known_values,
                quantiser,
                lambda z, pca=pca: pca.inverse_transform(z).reshape(x.shape),
                x,
            )
    return points


def _upto(rate: float, rates: np.ndarray, psnrs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a curve up to a rate, where it is interpolated."""
    if rates[-1] <= rate:
        return rates, psnrs
    kept = rates < rate
    return np.append(rates[kept], rate), np.append(psnrs[kept], np.interp(rate, rates, psnrs))


def save_curves(path: Path, points: Points, curves: Curves) -> None:
    """Draws PSNR over rate, up to one and a half times the highest rate of the page's own method."""
    shown = 1.5 * next(iter(curves.values()))[0].max()
    charts.save_lines(
        path,
        {f"{method} ({len(points[method])} settings)": _upto(shown, *curves[method]) for method in points},
        xlabel="rate, bits per pixel on disk",
        ylabel="PSNR, dB",
        title=f"{len(next(iter(points['dct'].values())).images)} held-out images",
        marker=".",
    )


def save_examples(path: Path, x: np.ndarray, points: Points, num: int = 12) -> None:
    """Draws originals, and below them the page's own at three rates, each above the best of PCA's there."""
    own = next(iter(points))
    rates, _ = curve(points[own].values())
    by_rate = {point.rate: point for point in points[own].values()}
    some = data.choose(len(x), num)
    rows, captions = [x[some]], ["original"]
    for rate in rates[[0, len(rates) // 2, -1]]:
        affordable = [point for point in points["pca"].values() if point.rate <= 1.05 * rate]
        rival = max(affordable, key=lambda point: point.psnr, default=None)
        for name, point in ((own, by_rate[rate]), ("PCA", rival)):
            if point is not None:
                rows.append(point.images[some])
                captions.append(f"{name}\n{point.rate:.3f} bit/pixel\n{point.psnr:.1f} dB")
    title = "originals, and the images decoded from their bytes"
    pictures.save_captioned_grid(path, np.stack(rows), title=title, rows=captions)


def comparison(curves: Curves, at_rate: float) -> dict[str, float]:
    """The baselines beside the page's own method: PSNR at a rate, and differences in rate at equal PSNR."""
    own, metrics = next(iter(curves.values())), {}
    for method in ("pca", "dct"):
        rates, psnrs = curves[method]
        if rates[0] <= at_rate <= rates[-1]:
            metrics[f"{method}_psnr"] = float(np.interp(at_rate, rates, psnrs))
        try:
            metrics[f"{method}_bd_rate"] = rate_distortion.bd_rate(*own, rates, psnrs)
            savings = rate_distortion.rate_savings(*own, rates, psnrs)
            metrics[f"{method}_worst_saving"] = float(savings.max())
        except ValueError as error:  # curves too short or too far apart; the run is finished without these metrics
            print(f"no rates at equal PSNR for {method}: {error}", file=sys.stderr)
    return metrics
