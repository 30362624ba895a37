"""Pictures of descents: paths on a surface, losses, effective learning rates, and films.

Each function takes one `Descent`, several, or a dict from labels to descents; `training` takes what
monitors measured, `learning_rates` what `find_learning_rate` found. The title says what all
descents share, the labels say what differs. `figsize`, in inches, and `dpi` are matplotlib's: with
`figsize=(9.6, 5.4), dpi=200` a picture has 1920 x 1080 pixels. `animate` needs the extra "plot" for
all films but a .gif (`pip install '.[plot]'` in the clone).
"""

from keras_lecture_opt.plots._descents import losses, panels, paths, rates
from keras_lecture_opt.plots._films import animate
from keras_lecture_opt.plots._learning_rates import learning_rates
from keras_lecture_opt.plots._style import COLORS, color
from keras_lecture_opt.plots._training import training

__all__ = ["paths", "panels", "losses", "rates", "animate", "training", "learning_rates"]
__all__ += ["color", "COLORS"]
