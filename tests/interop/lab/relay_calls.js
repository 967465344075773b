// Two peer connections in one page that may use nothing but the relay, for each way to reach it.
// `ways` is put before it: how each way is named, its URL, username and credential.

const WAIT_MS = 12000;
const PACKETS = 40;

async function until(what, condition) {
  const end = performance.now() + WAIT_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) throw new Error('waited for ' + what);
    await new Promise(done => setTimeout(done, 20));
  }
}

function tone(context, frequency) {
  const oscillator = new OscillatorNode(context, { frequency });
  const destination = context.createMediaStreamDestination();
  oscillator.connect(destination);
  oscillator.start();
  return destination.stream.getAudioTracks()[0];
}

async function heard(connection) {
  const stats = [...(await connection.getStats()).values()];
  const audio = stats.find(one => one.type === 'inbound-rtp' && one.kind === 'audio');
  const enough = audio && audio.packetsReceived >= PACKETS && audio.totalAudioEnergy > 0;
  return enough && { packets: audio.packetsReceived, lost: audio.packetsLost };
}

async function inUse(connection) {
  const stats = [...(await connection.getStats()).values()];
  const pair = stats.find(one => one.type === 'candidate-pair' && one.nominated);
  const [local, remote] = [pair.localCandidateId, pair.remoteCandidateId].map(
    id => stats.find(one => one.id === id));
  return { local: local.candidateType, remote: remote.candidateType, address: local.address,
           protocol: local.relayProtocol };
}

async function call(context, { url, username, credential }) {
  const how = { iceServers: [{ urls: [url], username, credential }], iceTransportPolicy: 'relay' };
  const [one, other] = [new RTCPeerConnection(how), new RTCPeerConnection(how)];
  const candidates = [], errors = [], words = [];
  for (const [from, to] of [[one, other], [other, one]]) {
    from.onicecandidate = event => {
      if (!event.candidate) return;
      if (event.candidate.candidate) candidates.push(event.candidate.type);
      to.addIceCandidate(event.candidate);
    };
    from.onicecandidateerror = event => errors.push(event.errorCode);
    from.ontrack = event => { const player = new Audio(); player.srcObject = event.streams[0] ||
      new MediaStream([event.track]); player.play(); };
  }
  one.addTrack(tone(context, 440));
  const channel = one.createDataChannel('words');
  channel.onmessage = event => words.push(event.data);
  channel.onopen = () => channel.send('there');
  other.ondatachannel = event => {
    event.channel.onmessage = said => { words.push(said.data); event.channel.send('and back'); };
  };
  await one.setLocalDescription();
  await other.setRemoteDescription(one.localDescription);
  other.addTrack(tone(context, 660));
  await other.setLocalDescription();
  await one.setRemoteDescription(other.localDescription);
  try {
    await until('words or an error', () => words.length === 2 || errors.length > 1);
    if (words.length < 2) return { candidates, errors, words };
    const both = [one, other];
    const audio = await Promise.all(both.map(end => until('audio', () => heard(end))));
    const pairs = [await inUse(one), await inUse(other)];
    return { candidates, errors, words, audio, pairs };
  } catch (why) {
    return { candidates, errors, words, failed: String(why), state: one.iceConnectionState };
  } finally {
    one.close();
    other.close();
  }
}

(async () => {
  const context = new AudioContext();
  await context.resume();
  const entries = Object.entries(ways).map(async ([name, how]) => [name, await call(context, how)]);
  return Object.fromEntries(await Promise.all(entries));
})()
