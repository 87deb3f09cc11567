"""Array types that several folders share."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
