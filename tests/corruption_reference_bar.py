"""The corruptions of CIFAR-10-C-bar, ImageNet-C-bar and those of cameras written a second time, image by
image, as `corruption_reference`. Parameters are the published levels × the published share of ten.
"""

import numpy as np
from corruption_reference import SIDE, channels_last, cut
from PIL import Image, ImageOps
from scipy import ndimage

LEVELS = {
    "blue_noise_sample": (0.7, 1.4, 2.1, 3.5, 4.2),
    "brownish_noise": (2.5, 4, 5.5, 6.5, 7),
    "checkerboard_cutout": (1, 2, 3, 4, 5),
    "circular_motion_blur": (2.8, 3.6, 4.4, 5.2, 6),
    "inverse_sparkles": (1, 1.5, 2.5, 4.5, 5),
    "lines": (0.5, 1, 1.5, 2, 2.5),
    "pinch_and_twirl": (5.5, 6, 6.5, 8.5, 10),
    "ripple": (5.5, 6, 6.5, 7.5, 8),
    "sparkles": (0.7, 3.5, 5.6, 6.3, 7),
    "transverse_chromatic_abberation": (1, 2, 5, 9, 10),
    "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
    "cocentric_sine_waves": (3, 5, 8, 9, 10),
    "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
    "plasma_noise": (4.75, 7, 8.5, 9.25, 10),
    "single_frequency_greyscale": (1, 1.5, 2, 4.5, 5),
    "iso_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "low_light": (0.6, 0.5, 0.4, 0.3, 0.2),
    "color_quant": (5, 4, 3, 2, 1),
    "bit_error": (0.001, 0.002, 0.005, 0.01, 0.02),
    "flash": (2.4, 1.4, 0.9, 0.6, 0.4),
}
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(float)


def corrupted(name, severity, image, draws):
    return globals()[name](image, *draws, LEVELS[name][severity - 1])


def part(level, most):
    return level * most / 10


def eight(x):
    return np.uint8(np.clip(x, 0, 255))


def _noise(phases, power):
    phases = np.concatenate([phases, phases[::-1, ::-1]], 1)
    noise = np.fft.ifft2(np.fft.ifftshift(power * np.exp(1j * phases))).real
    return noise / noise.std()


def blue_noise_sample(image, phases, level):
    noise = _noise(phases, np.hypot(ROWS - 16, COLUMNS - 16))
    return np.where((noise > part(level, 3) - 2.5)[..., None], image, 0)


def brownish_noise(image, phases, level):
    power = 1 / ((ROWS - 16) ** 2 + (COLUMNS - 16) ** 2 + 1)
    return eight(image + part(level, 64) * np.stack([_noise(p, power) for p in phases], -1))


def checkerboard_cutout(image, angle, cell, board, level):
    cell, out = cell * SIDE, image.copy()
    count = int(4 * SIDE // cell)
    grid = board[:count, :count] < part(level, 1)
    for y in range(SIDE):
        for x in range(SIDE):
            a = (np.cos(angle) * y + np.sin(angle) * x) / cell
            b = (-np.sin(angle) * y + np.cos(angle) * x) / cell
            if int(a % 2) == int(b % 2) and grid[int(a), int(b)]:
                out[y, x] = 128
    return out


def _star(centre, lengths, rays, power):
    rays = int(rays)
    down, right = ROWS - centre[0], COLUMNS - centre[1]
    turn = (np.arctan2(right, down) + np.pi) / (2 * np.pi) * rays
    # the lengths of the rays around the circle, linear in the angle
    length = np.interp(turn, np.arange(rays + 2), np.concatenate([lengths[:rays], lengths[:2]]))
    middle = 1 - (turn % 1 - 0.5) ** 2
    return np.clip(middle * (length**2 / (down**2 + right**2 + 1e-4)) ** power, 0, 1)[..., None]


def sparkles(image, centres, lengths, rays, level):
    radius, x = part(level, 0.1) * SIDE, image.astype(float)
    for centre, random, count in zip(centres, lengths, rays, strict=True):
        star = _star(centre, np.maximum(1, radius + 0.25 * radius * random), count, 1)
        x = x + star * (255 - x)
    return eight(x)


def inverse_sparkles(image, centre, lengths, rays, level):
    amount = 100 - part(level, 65)
    star = _star(centre, 8 + 0.25 * 8 * lengths, rays, (100 - amount) / 50)
    return eight(255 + star * (image - 255.0))


def _looked_up(x, rows, columns):
    """Linear between pixels, 0 beyond the image."""
    padded = np.pad(x.astype(float), ((1, 1), (1, 1), (0, 0)))
    places = [np.clip(rows + 1, 0, SIDE + 1), np.clip(columns + 1, 0, SIDE + 1)]
    return np.stack([ndimage.map_coordinates(padded[..., c], places, order=1) for c in range(3)], -1)


def pinch_and_twirl(image, signs, level):
    out, amount = image.astype(float), part(level, 0.4) + 0.1
    for i in range(3):
        for j in range(3):
            block = np.s_[10 * j : 10 * j + 10, 10 * i : 10 * i + 10]
            offsets = ROWS[block] - (10 * j + 5) + 1j * (COLUMNS[block] - (10 * i + 5))
            share = abs(offsets) / 5
            moves = (share <= 1) & (share > 1e-4)
            share = np.where(moves, share, 1)
            turned = offsets * np.sin(np.pi / 2 * share) ** -amount
            turned = turned * np.exp(1j * signs[i, j] * part(level, np.pi / 2) * (1 - share) ** 2)
            offsets = np.where(moves, turned, offsets)
            out[block] = _looked_up(image, offsets.real + 10 * j + 5, offsets.imag + 10 * i + 5)
    return eight(out)


def ripple(image, wavelengths, phases, level):
    amplitude, lengths = part(level, 0.025) * SIDE, wavelengths * SIDE
    return eight(
        _looked_up(
            image,
            ROWS + amplitude * np.sin(2 * np.pi * ROWS / lengths[0] + phases[0]),
            COLUMNS + amplitude * np.sin(2 * np.pi * COLUMNS / lengths[1] + phases[1]),
        )
    )


def circular_motion_blur(image, level):
    times = [2 * i / 20 - 1 for i in range(21)]
    weights = [np.exp(-2 * t**2) for t in times]
    turned = [ndimage.rotate(image / 255, t * part(level, 15), reshape=False) for t in times]
    return cut(sum(w * x for w, x in zip(weights, turned, strict=True)) / sum(weights))


def lines(image, angle, spread, places, level):
    out = image.copy()
    assert len(places) == int(part(level, 1) * SIDE)
    for x, y, a in places:
        a = angle + 2 * np.pi * spread * (a - 0.5)
        x, y, c, s = x * SIDE, y * SIDE, np.cos(a) * SIDE, np.sin(a) * SIDE
        for i, j, value in _smooth_line(int(x - c), int(y - s), int(x + c), int(y + s)):
            if 0 <= i < SIDE and 0 <= j < SIDE:
                out[i, j] = (1 - value) * image[i, j] + value * 128
        image = out.copy()
    return out


def _smooth_line(x, y, x1, y1):
    """Zingl's anti-aliased Bresenham line (2012): row, column and opacity of every pixel, later ones win."""
    dx, dy, sx, sy = abs(x1 - x), abs(y1 - y), 1 if x < x1 else -1, 1 if y < y1 else -1
    error, length = dx - dy, np.hypot(dx, dy) or 1
    while True:
        yield x, y, 1 - abs(error - dx + dy) / length
        before, x_before = error, x
        if 2 * before >= -dx:
            if x == x1:
                return
            if before + dy < length:
                yield x, y + sy, 1 - abs(before + dy) / length
            error, x = error - dy, x + sx
        if 2 * before <= dy:
            if y == y1:
                return
            if dx - before < length:
                yield x_before + sx, y, 1 - abs(dx - before) / length
            error, y = error + dx, y + sy


def transverse_chromatic_abberation(image, order, level):
    scale, out = part(level, 0.5), image.copy()
    scales = np.array([1, 1 + scale / 2, 1 + scale])[order.astype(int)]
    for c in range(3):
        zoomed = ndimage.zoom(image[..., c], scales[c], prefilter=False)
        edge = (len(zoomed) - SIDE) // 2
        out[..., c] = zoomed[edge : edge + SIDE, edge : edge + SIDE]
    return out


def single_frequency_greyscale(image, frequency, phase, level):
    wave = np.imag(np.exp(1j * (frequency[0] * COLUMNS + frequency[1] * ROWS + phase)))
    return eight(image + part(level, 196) * wave[..., None])


def cocentric_sine_waves(image, centre, waves, level):
    often, amplitude, width = waves
    right, down = COLUMNS - centre[0], ROWS - centre[1]
    ring = (np.sqrt(right**2 + down**2) + np.sin(often * np.arctan2(right, down)) * amplitude) / width
    return eight(image + part(level, 128) * (ring - np.floor(ring) - 0.5)[..., None])


def plasma_noise(image, time, iterations, sharpness, scale, level):
    x, y = COLUMNS / (scale * SIDE), ROWS / (scale * SIDE)
    for k in range(int(iterations)):
        frequency, delay, damping = 1.93**k, 1.15**k, (2.25 - sharpness) ** k
        turn = (np.cos(y * frequency + time / delay) + 1j * np.sin(x * frequency + time / delay)) / damping
        turn *= 1 + 0.3j
        x, y = x + turn.real, y + turn.imag
    noise = np.stack([np.sin(x - time), np.sin((x + y + np.sin(time)) / 2), np.sin(y + time)], -1)
    return eight((1 - part(level, 64) / 255) * image + part(level, 64) * noise)


def perlin_noise(image, order, angles, level):
    order, cell = order.astype(int), 32 * SIDE / 224
    total = sum(
        abs(_perlin(ROWS * k / cell, COLUMNS * k / cell, order, angles)) / k for k in (1, 2, 4, 8, 16)
    )
    share = part(level, 0.5)
    return eight((1 - share) * image + 255 * share * np.clip(total / 2 + 0.5, 0, 1)[..., None])


def _perlin(y, x, order, angles):
    i, j = y.astype(int), x.astype(int)
    down, right = y - i, x - j

    def corner(a, b):
        angle = angles[order[(order[(i + a) % 256] + j + b) % 256]]
        return np.cos(angle) * (down - a) + np.sin(angle) * (right - b)

    along, across = down * down * (3 - 2 * down), right * right * (3 - 2 * right)
    near, far = (corner(a, 0) + across * (corner(a, 1) - corner(a, 0)) for a in (0, 1))
    return 1.5 * (near + along * (far - near))


def caustic_refraction(image, time, size, level):
    p = np.stack([ROWS, COLUMNS]) / (size * SIDE) % 1 * 2 * np.pi - 250
    i, c = p.copy(), 1.0
    for n in range(5):
        t = time * (1 - 3.5 / (n + 1))
        i = p + np.stack([np.cos(t - i[0]) + np.sin(t + i[1]), np.sin(t - i[1]) + np.cos(t + i[0])])
        c = c + 1 / np.sqrt(
            (p[0] / (np.sin(i[0] + t) / 0.005)) ** 2 + (p[1] / (np.cos(i[1] + t) / 0.005)) ** 2
        )
    light = np.clip(abs(1.17 - (c / 5) ** 1.4) ** 8, 0, 1)
    light = np.pad(ndimage.gaussian_filter(light, 1), 1)
    out = np.zeros((SIDE, SIDE, 3))
    incident, x = np.array([0, 0, 1.0]), np.pad(image / 255, ((9, 9), (9, 9), (0, 0)))
    for row in range(SIDE):
        for column in range(SIDE):
            down = light[row + 2, column + 1] - light[row, column + 1]
            right = light[row + 1, column + 2] - light[row + 1, column]
            normal = np.array([down, right, 1]) / np.sqrt(down**2 + right**2 + 1)
            bent = incident
            if normal[2] < 1 - 1e-3:  # Snell's law in the plane of incidence
                angle = np.arccos(normal[2])
                out_angle = np.arcsin(np.sin(angle) / 4)
                tangent = (incident - normal[2] * normal) / np.sin(angle)
                bent = np.cos(out_angle) * normal + np.sin(out_angle) * tangent
            y, z = np.round(bent * part(level, SIDE / 2), 3)[:2] + [row + 9, column + 9]
            u, v = int(np.floor(y)), int(np.floor(z))
            weights = np.outer([u + 1 - y, y - u], [v + 1 - z, z - v])[..., None]
            out[row, column] = (weights * x[u : u + 2, v : v + 2]).sum((0, 1)) + part(level, 2) * (
                down - right
            )
    return cut(out)


def iso_noise(image, counts, noise, deviation):
    return cut(np.clip(channels_last(counts) / 25, 0, 1) + channels_last(noise) * 0.7 * deviation)


def low_light(image, counts, noise, ceiling):
    return cut(np.clip(channels_last(counts) / (10 * 12), 0, 1) + channels_last(noise) * 0.1 * 0.18)


def color_quant(image, bits):
    return np.asarray(ImageOps.posterize(Image.fromarray(image), bits))


def bit_error(image, flipped, rate):
    wrong = np.packbits(flipped < rate, axis=-1, bitorder="little")[..., 0]
    return image ^ channels_last(wrong)


def flash(image, weakness):
    x, y = ((places + 0.5) / SIDE * 2 - 1 for places in (ROWS, COLUMNS))
    wall = 1 / np.sqrt(1 + np.tan(np.radians(30)) ** 2 * (x**2 + y**2))
    return cut(image / 255 * (1 + wall / weakness)[..., None])
