"""Pictures of descents: paths on a surface, losses, effective learning rates, and films.

Each function takes one `Descent`, several, or a dict from labels to descents; `training` takes what
monitors measured, `curves` and `sensitivity` a comparison. The title says what all descents share,
the labels say what differs. `figsize`, in inches, and `dpi` are matplotlib's: with
`figsize=(9.6, 5.4), dpi=200` a picture has 1920 x 1080 pixels. Films need the extra "plot" (`pip
install '.[plot]'` in the clone).
"""

from keras_lecture_opt.plots._comparison import curves, sensitivity
from keras_lecture_opt.plots._descents import losses, panels, paths, rates
from keras_lecture_opt.plots._films import animate
from keras_lecture_opt.plots._style import COLORS, color
from keras_lecture_opt.plots._training import training

__all__ = ["paths", "panels", "losses", "rates", "animate", "training", "curves", "sensitivity"]
__all__ += ["color", "COLORS"]
