// Lets one machine's loopback ports be reached from a network namespace that has a loopback of its own: a pair of
// processes with unix sockets between them, which do not care about network namespaces.
//
//   node forward.mjs out DIR PORT…     outside: DIR/PORT.sock -> 127.0.0.1:PORT
//   node forward.mjs in  DIR PORT…     inside:  127.0.0.1:PORT -> DIR/PORT.sock
//
// Only the named ports exist inside. Everything else on the inner 127.0.0.1 is the inner machine's own.
import net from 'node:net';
import path from 'node:path';

const [side, dir, ...ports] = process.argv.slice(2);
const waiting = ports.map((port) => new Promise((done, failed) => {
  const socket = path.join(dir, `${port}.sock`);
  const inner = { host: '127.0.0.1', port: +port };
  const [from, to] = side === 'out' ? [{ path: socket }, inner] : [inner, { path: socket }];
  const server = net.createServer((near) => {
    const far = net.connect(to);
    near.pipe(far);
    far.pipe(near);
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
  });
  server.once('error', failed);
  server.listen(from, done);
}));
await Promise.all(waiting);
console.log(JSON.stringify({ ready: true }));
