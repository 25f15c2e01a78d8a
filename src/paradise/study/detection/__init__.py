"""Table 3: detectors of mmdetection 3.x with ParaDise backbones, and with ParaDise in all of the detector.

What configurations of mmdetection can name is in `paradise.mmdetection`. Nothing of the classification imports this
package.
"""

import contextlib
import importlib
import io

from paradise.errors import UserError

INSTALL = "run `make setup` in the project's folder"


def require_mmdetection() -> None:
    """Raises UserError where mmdetection, or the operators of mmcv that it needs, are not installed."""
    for package in ("mmengine", "mmcv", "mmcv.ops", "mmdet", "mmdet.models", "mmdet.datasets"):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # where they say which of their parts they do without
                importlib.import_module(package)
        except ModuleNotFoundError as error:
            what = "mmcv without its operators" if "_ext" in str(error) else f"no {error.name}"
            raise UserError(f"Table 3 needs mmdetection, and here is {what}; {INSTALL}") from None
        except (ImportError, AssertionError) as error:
            raise UserError(f"{package} does not work here ({' '.join(str(error).split())}); {INSTALL}") from None
