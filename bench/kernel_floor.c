/* The floor of bench/kernel.py: the same windows and verdicts, written down in plain C as one would at first.
 *
 * It works on full windows in the memory of `sentinel/detection/windows_learn.py`: a ring and the same samples sorted, side by side in a
 * block; a sample costs three binary searches, one memmove, and one search for the median absolute deviation. It has no prefetching, does
 * not remember where the last search ended, and writes down nothing but how many samples each detector fired on.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    double *ring;
    int32_t n, capacity, head, split;
    double anchor, mean, m2, up, down;
} Window;

typedef struct {
    double resolution, zscore, iqr, mad, cusum, drift;
} Limits;

static long lower_bound(const double *ordered, long n, double value) {
    long low = 0;
    while (n > 1) {
        long half = n >> 1;
        low += ordered[low + half - 1] < value ? half : 0;
        n -= half;
    }
    return low + (ordered[low] < value);
}

static double quantile(const double *ordered, long n, double share) {
    double position = (n - 1) * share, weight;
    long below = (long)position;
    if (below + 1 >= n) return ordered[below];
    double low = ordered[below], high = ordered[below + 1];
    weight = position - below;
    return weight >= 0.5 ? high - (high - low) * (1.0 - weight) : low + (high - low) * weight;
}

static double deviation(const double *ordered, long n, double centre) {
    long left = lower_bound(ordered, n, centre), right = n - left, half = (n + 1) >> 1;
    long low = half > right ? half - right : 0, high = half < left ? half : left;
    while (low < high) {
        long i = (low + high) >> 1;
        if (centre - ordered[left - 1 - i] < ordered[left + half - 1 - i] - centre) low = i + 1;
        else high = i;
    }
    double lower = low > 0 ? centre - ordered[left - low] : 0.0, upper = INFINITY;
    if (half > low) lower = fmax(lower, ordered[left + half - low - 1] - centre);
    if (n & 1) return lower;
    if (low < left) upper = centre - ordered[left - 1 - low];
    if (half - low < right) upper = fmin(upper, ordered[left + half - low] - centre);
    return (lower + upper) * 0.5;
}

static void recompute(Window *window, long size) {
    double origin = window->ring[window->capacity + (size >> 1)], total = 0.0, squares = 0.0;
    for (long i = 0; i < size; i++) total += window->ring[i] - origin;
    double offset = total / size;
    for (long i = 0; i < size; i++) {
        double distance = (window->ring[i] - origin) - offset;
        squares += distance * distance;
    }
    window->anchor = origin, window->mean = offset, window->m2 = squares;
}

void watch(const double *values, const int32_t *rows, long n, Window *windows, long size, const Limits *limits, int64_t *fired) {
    for (long i = 0; i < n; i++) {
        Window *window = &windows[rows[i]];
        double value = values[i], *ring = window->ring, *ordered = ring + window->capacity, least = limits->resolution;
        double mean = window->anchor + window->mean, sd = sqrt(fmax(window->m2, 0.0) / (size - 1));
        double median = size & 1 ? ordered[size >> 1] : (ordered[(size >> 1) - 1] + ordered[size >> 1]) * 0.5;
        double q1 = quantile(ordered, size, 0.25), q3 = quantile(ordered, size, 0.75), mad = deviation(ordered, size, median);
        double range = fmax(q3 > q1 ? q3 - q1 : 2.0 * sd, 1.349 * least), spread = fmax(mad > 0.0 ? mad / 0.6745 : sd, least);
        double z = (value - mean) / fmax(sd, least);
        double up = fmax(0.0, window->up + z - limits->drift), down = fmax(0.0, window->down - z - limits->drift);
        fired[0] += fabs(value - mean) / (fmax(sd, least) * limits->zscore) > 1.0;
        fired[1] += fmax(fmax(q1 - value, value - q3), 0.0) / (range * limits->iqr) > 1.0;
        fired[2] += fabs(value - median) / (spread * limits->mad) > 1.0;
        fired[3] += fmax(up, down) / limits->cusum > 1.0;
        window->up = up > limits->cusum ? 0.0 : up;
        window->down = down > limits->cusum ? 0.0 : down;

        double oldest = ring[window->head];
        ring[window->head] = value;
        long gone = lower_bound(ordered, size, oldest), spot = lower_bound(ordered, size, value);
        if (gone < spot) {
            memmove(ordered + gone, ordered + gone + 1, (spot - gone - 1) * sizeof(double));
            ordered[spot - 1] = value;
        } else {
            memmove(ordered + spot + 1, ordered + spot, (gone - spot) * sizeof(double));
            ordered[spot] = value;
        }
        double came = value - window->anchor, went = oldest - window->anchor, step = came - went, shifted = window->mean + step / size;
        double squares = window->m2 + step * ((came - shifted) + (went - window->mean));
        int lost = squares < 1e-6 * window->m2;
        window->mean = shifted, window->m2 = squares;
        if (++window->head == size) window->head = 0, lost = 1;
        if (lost) recompute(window, size);
    }
}
