/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source at the far end of a stream: an NBD server (a browser's page, nbdkit, qemu-nbd), with
 * proto/nbd-client as its wire. A far end that has not finished the handshake 15 s after it came is
 * lost. So is one that has ever answered a word (stream_events.heard) and then sends neither bytes
 * nor words for 8 s, which takes a word at least every 2 s to tell from one with nothing to say:
 * whoever owns the source sends them. One that never did is lost when it leaves requests unanswered
 * and sends nothing for 25 s. When the far end breaks the protocol, the stream is closed with
 * STREAM_CLOSE_PROTOCOL and the reason before `lost` tells of it.
 */
#ifndef PLATTER_SOURCE_PEER_H
#define PLATTER_SOURCE_PEER_H

#include "block/source.h"
#include "source/profile.h"

struct loop;

/*
 * Takes the stream over, also when it fails; the profile must outlive it. 0 or -errno. No event
 * comes before the loop's next turn.
 */
int peer_new(struct loop *loop, struct stream *stream, const struct peer_profile *profile,
             const struct source_events *events, void *owner, struct source **out);

#endif
