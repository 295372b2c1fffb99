"""A web browser, on whatever machine."""

from pochette.boards.board import Board
from pochette.boards.target import WASM
from pochette.families import boards

boards.add(
    "browser",
    Board(
        name="browser",
        title="Web browser",
        description="""A web page: the engine as WebAssembly inside an AudioWorklet, on any machine with a browser.

        Nothing is known of the machine behind it, so there is no instruction budget; the real-time factor in the
        sandbox here, or in the page itself, is what counts. An AudioWorklet asks for 128 samples at a time.
        """,
        cpu="WebAssembly",
        cores=1,
        ram_bytes=256 << 20,
        fpu="IEEE 754 single and double precision",
        simd="128-bit SIMD, 4 floats",
        sample_rates_hz=(48_000, 44_100),
        block_samples=128,
        os="browser",
        target=WASM,
        emulator="wasm",
        sources=(
            "Web Audio API, W3C Recommendation 17 June 2021 (render quantum of 128 frames): recalled",
            "WebAssembly core specification 2.0 (fixed-width SIMD): recalled",
            "256 MB is the limit that pochette's own sandbox sets",
        ),
    ),
)
