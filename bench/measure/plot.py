"""Line plots as SVG, drawn by hand: panels side by side over one x axis, which may be logarithmic."""

import html
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 430, 300, 70, 20, 50, 50
COLOURS = ("#1f5fa8", "#c0492b", "#3a8a3f", "#7b4fa3")


def nice(value):
    """A round number not below it."""
    if value <= 0:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999)


def short(value):
    for limit, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"


class Axis:
    """Where a number is between two pixels. A logarithmic one has a place for 0, a step before the least."""

    def __init__(self, values, low, high, log):
        self.low, self.high, self.log = low, high, log
        if log:
            positive = [math.log10(v) for v in values if v > 0] or [0]
            self.zero = min(positive) - 1
            self.least = self.zero if min(values) <= 0 else min(positive)
            self.most = max(max(positive), self.least + 1e-9)
        else:
            self.least, self.most = 0, nice(max(values))

    def at(self, value):
        scaled = (math.log10(value) if value > 0 else self.zero) if self.log else value
        return self.low + (self.high - self.low) * (scaled - self.least) / (self.most - self.least)


def text(x, y, words, anchor="middle", size=11, **more):
    extra = "".join(f' {key}="{value}"' for key, value in more.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{extra}>{html.escape(str(words))}</text>'


def panel(left, title, xs, series, x_title, log_x):
    """series: [(name, [y or None for each x])]"""
    ys = [y for _, values in series for y in values if y is not None] or [0]
    x_axis = Axis(xs, left + LEFT, left + WIDTH - RIGHT, log_x)
    y_axis = Axis(ys, HEIGHT - BOTTOM, TOP, False)
    out = [text(left + WIDTH / 2, 18, title, size=13)]
    for i in range(5):
        value = y_axis.most * i / 4
        y = y_axis.at(value)
        out.append(f'<line x1="{left + LEFT}" y1="{y:.1f}" x2="{left + WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(text(left + LEFT - 6, y + 4, short(value), "end"))
    for x in xs:
        out.append(text(x_axis.at(x), HEIGHT - BOTTOM + 18, short(x)))
    out.append(text(left + WIDTH / 2, HEIGHT - 10, x_title, size=12))
    for number, (name, values) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x_axis.at(x), y_axis.at(y)) for x, y in zip(xs, values) if y is not None]
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="' + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        if len(series) > 1:
            out.append(text(left + LEFT + 5 + number * 150, 36, name, "start", fill=colour))
    return out


def write(path, xs, panels, x_title, note, log_x=True):
    """panels: [(title, series)]"""
    width = WIDTH * len(panels)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT + 20}" font-family="sans-serif">',
           '<rect width="100%" height="100%" fill="white"/>']
    for number, (title, series) in enumerate(panels):
        out += panel(number * WIDTH, title, xs, series, x_title, log_x)
    out += [text(8, HEIGHT + 12, note, "start", size=10, fill="#666"), "</svg>"]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(out) + "\n")
