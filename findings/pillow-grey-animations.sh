#!/usr/bin/env bash
# Pillow makes an animation of grey frames black when it is asked for colours.
#
# The crate gif 0.14.2 (as the crate image uses it) writes a GIF without a palette of its own as one with a palette of two black entries, and
# each frame with its own. Browsers show the frames. Pillow 13.0.0 opens such a file, if the frame's palette is a ramp of greys, in the mode "L"
# with the right numbers, keeps the two black entries beside them, and `convert("RGB")` looks the numbers up in those: all pixels are 0. Nothing
# is said; an array made of the picture itself is right, one made of its conversion is not.
#
# For us: animations have one palette of 256 greys for all frames.
source "$(dirname "$0")/lib.sh"
packages python3 pillow==13.0.0 numpy==2.4.6
rust gif==0.14.2 <<'R'
use gif::{Encoder, Frame};

fn main() {
    let greys: Vec<u8> = (0..=255).flat_map(|v| [v; 3]).collect();
    for (name, shared) in [("apart.gif", &[][..]), ("shared.gif", &greys[..])] {
        let mut file = std::fs::File::create(name).unwrap();
        let mut encoder = Encoder::new(&mut file, 16, 16, shared).unwrap();
        let palette = shared.is_empty().then(|| greys.clone());
        let buffer: Vec<u8> = (0..=255).collect();
        let frame = Frame { width: 16, height: 16, buffer: buffer.into(), palette, ..Frame::default() };
        encoder.write_frame(&frame).unwrap();
    }
}
R
python - <<'P'
import numpy as np
from PIL import Image

ramp = np.arange(256).reshape(16, 16)
for name, last in {"shared.gif": 255, "apart.gif": 0}.items():
    picture = Image.open(name)
    numbers, colours = np.asarray(picture), np.asarray(picture.convert("RGB"))
    print(f"{name}: mode {picture.mode}, its numbers reach {numbers.max()}, its colours {colours.max()}")
    assert picture.mode == "L" and (numbers == ramp).all() and colours.max() == last, "this has changed"
P
