/* Any engine behind one signature: inputs lie one after the other in one array, and so do outputs. */
#ifndef RIG_H
#define RIG_H

typedef struct {
    const char *name;
    long bytes;
    int inputs, outputs;
    const float *low, *high; /* the range of each input */
    void (*init)(void *state);
    void (*call)(void *state, const float *in, float *out);
} rig_engine;

extern const rig_engine rig_engines[];
extern const int rig_count;

/* Inputs all over their ranges, the same for the same seed. */
void rig_noise(const rig_engine *e, float *in, unsigned *seed);

/* What a host calls: engines by their number in the table. */
long rig_bytes(int number);
void rig_init(int number, void *state);
void rig_play(int number, void *state, const float *in, float *out, int calls);
void rig_times(int number, void *state, const float *in, float *out, int calls, double *seconds);

#endif
