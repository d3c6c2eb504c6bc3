"""Learning rates of the published training (NeuralUDF, Long et al. 2023, arXiv:2211.14173, section 4), as factors.

Two phases follow each other in one run, each with its own warm-up and its own half cosine down to a twentieth. The
distance field waits for the colours at the start of a phase, rises more slowly, stays until half of it and falls then.
No torch here.
"""

from __future__ import annotations

from rilievo.engine.schedules import Constant, Cosine, Product, Ramp, Rate, Sequence

from .config import CourseConfig

LEFT = 0.05
"""Share of a rate at the end of its phase."""


def color_rate(steps: int, warmup: int) -> Rate:
    """Everything but the distance field: up in `warmup` steps, then down."""
    return Sequence((Ramp(0.0, 1.0, warmup), Cosine(max(1, steps - warmup), LEFT)), (warmup,))


def shape_rate(steps: int, warmup: int, still: int) -> Rate:
    """The distance field: nothing for `still` steps, up until twice the warm-up, down from half of the phase."""
    rise = max(2 * warmup, still + 1)
    half = max(steps // 2, rise)
    rising = Ramp(still / rise, 1.0, rise - still)
    return Sequence((Constant(0.0), rising, Constant(1.0), Cosine(max(1, steps - half), LEFT)), (still, rise, half))


def shape_course(course: CourseConfig, steps: int) -> Rate:
    """Both phases of the distance field, in its own learning rate."""
    first = shape_rate(course.second_step, course.warmup_steps, course.still_steps)
    second = shape_rate(max(1, steps - course.second_step), course.warmup_steps, course.still_steps)
    return _joined(first, second, course, course.shape_rate)


def color_course(course: CourseConfig, steps: int, rate: float) -> Rate:
    """Both phases of everything else, whose learning rate is `rate` in the first."""
    first = color_rate(course.second_step, course.warmup_steps)
    second = color_rate(max(1, steps - course.second_step), course.warmup_steps)
    return _joined(first, second, course, rate)


def _joined(first: Rate, second: Rate, course: CourseConfig, rate: float) -> Rate:
    return Sequence((first, Product((Constant(course.second_rate / rate), second))), (course.second_step,))
