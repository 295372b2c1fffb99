/* A whole program around an engine: it plays the control curve compiled into it and writes the audio as raw floats. */
#include "curve.h" /* CURVE_FRAMES, CURVE_COLUMNS, curve */

enum { KEY_HOP_SAMPLES = 2, KEY_CONTROLS = 3, KEY_BLOCK_SAMPLES = 5 };
enum { OK = 0, WRONG_CURVE = 1, NOT_WRITTEN = 2 };

int pochette_info(int key);
void pochette_reset(void *state);
void pochette_process(void *state, const float *controls, float *audio, int samples);
void *pochette_arena_state(void);
void *pochette_arena_audio(void);

/* Provided by the start-up file; gives the number of bytes that could not be written. */
int harness_write(const void *bytes, int size);
int main(void);

int main(void)
{
    void *state = pochette_arena_state();
    float *audio = pochette_arena_audio();
    const int hop = pochette_info(KEY_HOP_SAMPLES), block = pochette_info(KEY_BLOCK_SAMPLES);
    if (pochette_info(KEY_CONTROLS) > CURVE_COLUMNS) return WRONG_CURVE;
    pochette_reset(state);
    for (int frame = 0; frame < CURVE_FRAMES; frame++) {
        for (int done = 0; done < hop;) {
            const int samples = hop - done < block ? hop - done : block;
            pochette_process(state, curve[frame], audio, samples);
            if (harness_write(audio, samples * (int)sizeof(float)) != 0) return NOT_WRITTEN;
            done += samples;
        }
    }
    return OK;
}
