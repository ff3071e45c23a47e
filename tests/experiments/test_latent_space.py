"""What `latent_space` measures, on linear decoders and placed codes whose numbers are known in closed form."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments import latent_measures, latent_space


def space(z, train_z, *, decode=lambda z: z, x=None, train_x=None, label=None, train_label=None, has_prior=True):
    """A space whose images are vectors, by default the codes themselves."""
    z, train_z = jnp.float32(z), jnp.float32(train_z)
    x, train_x = (jnp.float32(own if own is not None else decode(z)) for own, z in ((x, z), (train_x, train_z)))
    return latent_measures.Space(lambda x: x, decode, has_prior, x, label, z, train_x, train_label, train_z, None)


# completeness


@pytest.mark.parametrize("dim", [1, 4])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_share_of_the_prior_inside_the_radius_is_that_of_a_chi_square(key, dim, scale):
    # training images at 0, and held-out ones of norm 1, ..., 3, 99 % of them up to r: P(scale^2 chi^2 <= r^2)
    norms = np.linspace(1, 3, 101)
    held_out = np.eye(1, dim) * norms[:, None]
    codes = np.asarray(jax.random.normal(key, (200, dim)), np.float64)
    codes -= codes.mean(0)
    codes = 0.7 * codes @ np.linalg.inv(np.linalg.cholesky(np.cov(codes.T).reshape(dim, dim)).T)  # covariance .49
    own = space(held_out, codes, decode=lambda z: scale * z, x=held_out, train_x=np.zeros((9, dim)))
    measured, images = latent_measures.completeness(own, jax.random.key(3))
    assert measured["radius"] == pytest.approx(norms[99], abs=1e-5)
    for name, spread in (("prior", scale), ("code_gaussian", 0.7 * scale)):
        expected = stats.chi2.cdf(norms[99] ** 2 / spread**2, dim)
        error = 4 * np.sqrt(expected * (1 - expected) / 1000) + 1e-3
        assert measured[f"inside_{name}"] == pytest.approx(expected, abs=error)
        assert measured[f"distance_{name}"] == pytest.approx(spread * stats.chi.mean(dim), rel=0.1)
        assert images[name].shape == (1000, dim)
    assert measured["inside_reconstruction"] == pytest.approx(np.mean(scale * norms <= norms[99] + 1e-5))
    assert measured["distance_reconstruction"] == pytest.approx(2 * scale, rel=1e-5)


def test_a_prior_far_from_the_codes_is_not_complete_but_their_gaussian_is(key):
    codes = 100 + np.asarray(jax.random.normal(key, (500, 2)), np.float64)
    measured, _ = latent_measures.completeness(space(codes[:100], codes[100:]), jax.random.key(0))
    assert measured["inside_prior"] == 0 and measured["inside_code_gaussian"] > 0.95
    assert measured["distance_prior"] == pytest.approx(100 * np.sqrt(2), rel=0.05)


# continuity


def test_walks_through_a_linear_decoder_are_even_and_as_steep_as_it():
    # the only walks: between (2, 0) and (0, 2); training images at 0, codes of standard deviation 3
    train_z = np.array([[3.0, 3.0], [-3.0, -3.0]] * 4)
    own = space(2 * np.eye(2), train_z, decode=lambda z: 5 * z, train_x=np.zeros((8, 2)))
    measured, frames = latent_measures.continuity(own, num_walks=4, num_frames=9, key=jax.random.key(0))
    assert {name: images.shape for name, images in frames.items()} == dict.fromkeys(
        ("linear", "spherical", "cross_fade"), (4, 9, 2)
    )
    for name in ("linear", "spherical"):
        assert measured[f"largest_slope_{name}"] == pytest.approx(5 * 3, rel=1e-4)
        assert measured[f"step_irregularity_{name}"] == pytest.approx(0, abs=1e-4)
    assert measured["step_irregularity_cross_fade"] == pytest.approx(0, abs=1e-5)
    middles = {"linear": 5 * np.sqrt(2), "spherical": 5 * 2, "cross_fade": 5 * np.sqrt(2), "held_out": 5 * 2}
    for name, distance in middles.items():
        assert measured[f"middle_distance_{name}"] == pytest.approx(distance, rel=1e-5)


def test_a_decoder_that_jumps_is_steep_and_uneven():
    # one of four steps of length 1/2 is a jump from 0 to 1: slope 2, steps (0, 0, 1, 0)
    own = space([[-1.0], [1.0]], [[-1.0], [1.0]], decode=lambda z: jnp.where(z > 0.25, 1.0, 0.0))
    measured, _ = latent_measures.continuity(own, num_walks=6, num_frames=5, key=jax.random.key(1))
    assert measured["largest_slope_linear"] == pytest.approx(2, rel=1e-5)
    assert measured["step_irregularity_linear"] == pytest.approx(np.std([0, 0, 1, 0]) / 0.25, rel=1e-5)


# concepts


@pytest.mark.parametrize("apart", [2.0, -2.0])
def test_a_concept_vector_added_to_a_code_gives_the_concept(apart):
    # classes at 0 and `apart`: z + c is exactly the other class, z - c is on the wrong side of one's own
    label = np.repeat([0, 1], 10)
    codes = apart * np.stack([label, np.zeros(20)], axis=1)
    own = space(codes, codes, label=label, train_label=label)._replace(x=jnp.full((20, 2), 0.25))
    measured, moved = latent_measures.concepts(own, jax.random.key(0))
    assert measured["concept_latent"] == 1.0
    assert moved.shape == (2, 7, 2)
    ends = np.array([[apart, 0], [0, apart]])  # of strengths -1 to 2, from the other class towards the own one
    expected = ends[:, :1] + np.array([[-apart], [apart]]) * np.array(latent_measures.STRENGTHS)
    np.testing.assert_allclose(moved[..., 0], expected, atol=1e-6)


def test_concepts_are_compared_with_a_random_direction_and_with_pixels():
    # a decoder that ignores its code shows one class only; pixels at .5 +- .25 move by .5 and are cut at 0 and 1
    label = np.repeat([0, 1], 10)
    x = 0.25 + 0.5 * label[:, None] * np.ones((1, 3))
    own = space(label[:, None], label[:, None], decode=lambda z: 0 * z + 0.75, x=x, train_x=x, label=label)
    own = own._replace(train_label=label, decode=lambda z: jnp.full((len(z), 3), 0.75))
    measured, _ = latent_measures.concepts(own, jax.random.key(0))
    assert measured == {"concept_latent": 0.5, "concept_random": 0.5, "concept_pixel": 1.0}


# the prior


def test_moments_of_the_aggregate_posterior_over_the_active_units():
    # q(z) of unit 1 has mean .5 and second moment 1 + .25 + e^-1; unit 2 carries nothing
    mean = jnp.stack([jnp.tile(jnp.array([-0.5, 1.5]), 50), jnp.full(100, 9.0)], axis=1)
    measured = latent_measures.prior_moments(mean, jnp.full((100, 2), -1.0))
    assert measured["active_units"] == 1
    assert measured["prior_moment_mean"] == pytest.approx(0.5)
    assert measured["prior_moment_second"] == pytest.approx(1.25 + np.exp(-1), rel=1e-5)
    # a bit at most, of which two overlapping Gaussians leave a part
    assert 0 < measured["information"] < np.log(2)


# two runs side by side


def test_two_latent_spaces_are_tabulated_and_drawn_side_by_side(key, tmp_path, capsys):
    names = [number for terms in latent_space.REGULARITY.values() for number in terms]
    images = jax.random.uniform(key, (2, 2, 3, 4, 4, 1))
    found = [
        latent_space.Explored({name: 10.0 * i + n for n, name in enumerate(names)}, images[i], images[i, 0])
        for i in range(2)
    ]
    opened: list = [
        SimpleNamespace(directory=tmp_path / name, experiment=SimpleNamespace(name=kind))
        for name, kind in (("a", "vae"), ("b", "autoencoder"))
    ]
    latent_space.compare(opened[0], opened[1], (found[0], found[1]), tmp_path)
    lines, table = capsys.readouterr().out.splitlines(), json.loads((tmp_path / "beside.json").read_text())
    assert table["names"] == ["vae", "autoencoder"] and (tmp_path / "beside.png").exists()
    assert lines[0].split() == ["continuity", "vae", "autoencoder"]
    for n, name in enumerate(names):
        word = "continuity" if n < 3 else "completeness"
        assert table[word][name] == [n, 10 + n]
        assert lines[1 + n + n // 3].split()[-2:] == [f"{n:.4f}", f"{10 + n:.4f}"]
    assert {len(line) for line in lines} == {len(lines[0])}


@pytest.mark.slow
def test_two_runs_are_explored_with_the_same_draws(train, finish, tmp_path):
    few = ("--num_steps=30", "--hidden=8", "--latent_dim=2", "--eval_every=30", "--log_every=30")
    for name, flags in (("vae", ()), ("autoencoder", ()), ("vae", ("--binarize=static",))):
        train(name, tmp_path / (name + "_binary" * len(flags)), *few, *flags)
    run, shared = f"--run={tmp_path / 'vae'}", ("--num_levels=3", "--num_frames=4", "--num_walks=5")
    for beside in ("autoencoder", "vae"):
        out = tmp_path / f"beside_{beside}"
        status, _, err = finish("latent_space", run, f"--beside={tmp_path / beside}", f"--out={out}", *shared)
        assert status == 0, err
    numbers = json.loads((tmp_path / "beside_vae" / "latent_space.json").read_text())
    for beside in ("autoencoder", "vae"):
        table = json.loads((tmp_path / f"beside_{beside}" / "beside.json").read_text())
        pairs = {name: values for word in latent_space.REGULARITY for name, values in table[word].items()}
        assert all(values[0] == numbers[name] for name, values in pairs.items())
        assert all(a == b for a, b in pairs.values()) == (beside == "vae")  # beside itself, a run is the same
    out = tmp_path / "refused"
    status, _, err = finish("latent_space", run, f"--beside={tmp_path / 'vae_binary'}", f"--out={out}")
    assert status == 2 and "--beside: it was trained on other data than" in err and not out.exists()


@pytest.mark.slow
def test_a_vae_is_more_complete_and_less_steep_than_an_autoencoder(train, finish, tmp_path):
    train("vae", tmp_path / "vae")
    train("autoencoder", tmp_path / "ae", "--latent_dim=8")
    status, _, err = finish("latent_space", f"--run={tmp_path / 'vae'}", f"--beside={tmp_path / 'ae'}")
    assert status == 0, err
    table = json.loads((tmp_path / "vae" / "latent_space" / "beside.json").read_text())
    of_vae, of_autoencoder = table["completeness"]["inside_prior"]
    assert of_vae > 0.99 and of_autoencoder < 0.25
    for number in ("largest_slope_linear", "middle_distance_linear"):
        of_vae, of_autoencoder = table["continuity"][number]
        assert of_vae < of_autoencoder
