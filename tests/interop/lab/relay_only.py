"""ICE that uses nothing but the relay: aioice alone would still try its own addresses."""

import aioice


class RelayOnly(aioice.Connection):
    """A connection whose only candidate is its relayed one."""

    def __init__(self, *argv, **how):
        super().__init__(*argv, transport_policy=aioice.TransportPolicy.RELAY, **how)

    async def gather_candidates(self):
        await super().gather_candidates()
        kept = [p for p in self._protocols if p.local_candidate.type == "relay"]
        for protocol in self._protocols:
            if protocol not in kept:
                await protocol.close()
        self._protocols = kept
        # What was closed says so where what is received is waited for.
        while not self._queue.empty():
            self._queue.get_nowait()
