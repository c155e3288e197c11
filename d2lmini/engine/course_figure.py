"""A figure that is drawn and saved in the course's style, whatever the reader's is."""

import matplotlib.figure

from d2lmini.engine.style import course_style


class Figure(matplotlib.figure.Figure):
    def draw(self, renderer) -> None:
        with course_style():  # matplotlib makes some ticks and lines only now
            super().draw(renderer)

    def savefig(self, *args, **kwargs) -> None:
        with course_style():
            super().savefig(*args, **kwargs)
