"""Programs compiled once for all fits of a file with the same shapes, since scikit-learn's checks fit many times."""

import jax
import pytest
from jax._src import compilation_cache

from genjax.training.compiled import keep_compiled


@pytest.fixture(scope="module", autouse=True)
def _programs(tmp_path_factory):
    names = "compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes"
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names[1:]}
    compilation_cache.reset_cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("programs")))
        keep_compiled()
    yield
    for name, value in {**before, "jax_compilation_cache_dir": None}.items():  # JAX cannot read a folder of genjax's
        jax.config.update(name, value)
    compilation_cache.reset_cache()
