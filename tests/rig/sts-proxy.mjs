// An STS (with the IAM and S3 behind it) that behaves like AWS where moto does not. Two moto servers stand behind it:
// CHECKED verifies SigV4 and IAM policies but cannot do web identities; UNCHECKED does those and verifies nothing.
// What is added here:
//   · credentials run out: `Expiration` is rewritten to the wanted lifetime, and enforced with AWS's ExpiredToken
//   · the trust policy counts: ExternalId, sts:TagSession, sts:SetSourceIdentity, the web identity's aud and sub
//   · a web identity's JWT is verified (provider's keys, iss, aud, exp) before moto sees it
//   · limits of AWS: DurationSeconds, the role's maximum, one hour for chained roles, session names, tags
//   · refusals on demand
//
//   PORT=0 CHECKED=http://… UNCHECKED=http://… node sts-proxy.mjs      prints one line of JSON when it listens
//
// Steering (JSON in, JSON out):
//   POST /__rig/setup     {"callers": {KEYID: ARN}, "roles": [{arn, trust, max_session}], "providers": [{issuer, audiences}]}
//   POST /__rig/lifetime  {"seconds": 5 | null}     of credentials issued from now on; null: what was asked for
//   POST /__rig/fault     {"action", "code", "message", "status", "times", "delay", "drop", "body"}  one or a list; [] clears
//   GET  /__rig/calls     every AWS call so far, with its parameters and outcome
//   POST /__rig/expire    {}                        everything issued so far is expired from now on
import * as jose from 'jose';
import crypto from 'node:crypto';
import http from 'node:http';

const { CHECKED, UNCHECKED } = process.env;
const callers = new Map(); // access key id -> ARN of a user
const roles = new Map(); // ARN -> {trust, max_session}
const providers = new Map(); // issuer -> {audiences, keys}
const issued = new Map(); // access key id -> {until, token, secret, arn, backend}
const calls = [];
let faults = [];
let lifetime = null;

class Refusal extends Error {
  constructor(status, code, message) { super(message); Object.assign(this, { status, code }); }
}
const denied = (message) => new Refusal(403, 'AccessDenied', message);
const invalid = (message) => new Refusal(400, 'ValidationError', message);
const escape = (s) => String(s).replace(/[<>&]/g, (c) => ({ '<': '&lt;', '>': '&gt;', '&': '&amp;' })[c]);

function refuse(res, service, { status, code, message }) {
  const id = crypto.randomUUID();
  const xml = service === 's3'
    ? `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${escape(message)}</Message><RequestId>${id}</RequestId></Error>`
    : `<ErrorResponse xmlns="https://${service}.amazonaws.com/doc/2011-06-15/">\n  <Error>\n    <Type>Sender</Type>\n    <Code>${code}</Code>\n    <Message>${escape(message)}</Message>\n  </Error>\n  <RequestId>${id}</RequestId>\n</ErrorResponse>\n`;
  res.writeHead(status, { 'content-type': 'text/xml', 'x-amzn-requestid': id, 'content-length': Buffer.byteLength(xml) });
  res.end(xml);
}

// --- reading a request
const read = (stream) => new Promise((done, failed) => {
  const parts = [];
  stream.on('data', (d) => parts.push(d));
  stream.on('end', () => done(Buffer.concat(parts)));
  stream.on('error', failed);
});

function credential(req, url) {
  const scope = req.headers.authorization?.match(/Credential=([^,\s]+)/)?.[1] ?? url.searchParams.get('X-Amz-Credential');
  if (!scope) return {};
  const [key, date, region, service] = scope.split('/');
  return { key, date, region, service, token: req.headers['x-amz-security-token'] ?? url.searchParams.get('X-Amz-Security-Token') ?? undefined };
}

// The parameters of a query-protocol call, and the lists in it (Tags.member.1.Key …).
function parameters(form) {
  const tags = {};
  const transitive = [];
  for (const [name, value] of form) {
    const tag = name.match(/^Tags\.member\.(\d+)\.Key$/);
    if (tag) tags[value] = form.get(`Tags.member.${tag[1]}.Value`) ?? '';
    if (/^TransitiveTagKeys\.member\.\d+$/.test(name)) transitive.push(value);
  }
  const duration = form.get('DurationSeconds');
  return {
    role_arn: form.get('RoleArn') ?? undefined,
    session_name: form.get('RoleSessionName') ?? undefined,
    external_id: form.get('ExternalId') ?? undefined,
    source_identity: form.get('SourceIdentity') ?? undefined,
    duration: duration === null ? undefined : +duration,
    tags,
    transitive,
  };
}

// --- SigV4, for credentials that only the unchecked moto knows
function signatureIsGood(req, url, body, { key, date, region, service }, secret) {
  const auth = req.headers.authorization ?? '';
  const names = auth.match(/SignedHeaders=([^,\s]+)/)?.[1]?.split(';') ?? [];
  const signature = auth.match(/Signature=([0-9a-f]+)/)?.[1] ?? '';
  const hash = (data) => crypto.createHash('sha256').update(data).digest('hex');
  const mac = (k, data) => crypto.createHmac('sha256', k).update(data).digest();
  const strict = (s) => encodeURIComponent(s).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const query = [...url.searchParams].map(([k, v]) => `${strict(k)}=${strict(v)}`).sort().join('&');
  const headers = names.map((n) => `${n}:${String(req.headers[n] ?? '').trim().replace(/ +/g, ' ')}\n`).join('');
  const payload = req.headers['x-amz-content-sha256'] ?? hash(body);
  const path = service === 's3' ? url.pathname : url.pathname.split('/').map(strict).join('/');
  const canonical = [req.method, path, query, headers, names.join(';'), payload].join('\n');
  const text = ['AWS4-HMAC-SHA256', req.headers['x-amz-date'], `${date}/${region}/${service}/aws4_request`, hash(canonical)].join('\n');
  const signing = mac(mac(mac(mac(`AWS4${secret}`, date), region), service), 'aws4_request');
  return key !== undefined && mac(signing, text).toString('hex') === signature;
}

// --- the trust policy
const list = (x) => (x === undefined ? [] : Array.isArray(x) ? x : [x]);
const matches = (pattern, value) => new RegExp(`^${pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.')}$`).test(value);

function trusts(role, action, context) {
  return list(role.trust.Statement).some((s) => {
    if (s.Effect !== 'Allow' || !list(s.Action).some((a) => matches(a, action))) return false;
    return Object.entries(s.Condition ?? {}).every(([operator, wanted]) => Object.entries(wanted).every(([key, values]) => {
      const value = context[key];
      if (value === undefined) return operator.endsWith('IfExists');
      if (operator.startsWith('StringEquals')) return list(values).includes(value);
      if (operator.startsWith('StringLike')) return list(values).some((v) => matches(v, value));
      throw new Error(`the rig knows no condition ${operator}`);
    }));
  });
}

const TAG = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;
function limits(p, chained) {
  const bad = (value, field, rule) => invalid(`1 validation error detected: Value '${value}' at '${field}' failed to satisfy constraint: ${rule}`);
  if (!/^[\w+=,.@-]*$/.test(p.session_name ?? '')) throw bad(p.session_name, 'roleSessionName', 'Member must satisfy regular expression pattern: [\\w+=,.@-]*');
  if ((p.session_name ?? '').length < 2) throw bad(p.session_name, 'roleSessionName', 'Member must have length greater than or equal to 2');
  if (p.session_name.length > 64) throw bad(p.session_name, 'roleSessionName', 'Member must have length less than or equal to 64');
  if (p.source_identity !== undefined && (!/^[\w+=,.@-]{2,64}$/.test(p.source_identity) || p.source_identity.startsWith('aws:'))) throw bad(p.source_identity, 'sourceIdentity', 'Member must satisfy regular expression pattern: [\\w+=,.@-]*');
  if (p.external_id !== undefined && !/^[\w+=,.@:/-]{2,1224}$/.test(p.external_id)) throw bad(p.external_id, 'externalId', 'Member must satisfy regular expression pattern: [\\w+=,.@:\\/-]*');
  if (p.duration !== undefined) {
    if (!(p.duration >= 900)) throw bad(p.duration, 'durationSeconds', 'Member must have value greater than or equal to 900');
    if (p.duration > 43200) throw bad(p.duration, 'durationSeconds', 'Member must have value less than or equal to 43200');
    const max = roles.get(p.role_arn)?.max_session ?? 3600;
    if (chained && p.duration > 3600) throw invalid('The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.');
    if (p.duration > max) throw invalid('The requested DurationSeconds exceeds the MaxSessionDuration set for this role.');
  }
  const keys = Object.keys(p.tags);
  if (keys.length > 50) throw bad('[…]', 'tags', 'Member must have length less than or equal to 50');
  for (const k of keys) {
    if (k.length < 1 || k.length > 128 || !TAG.test(k)) throw bad(k, 'tags.1.member.key', 'Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+');
    if (p.tags[k].length > 256 || !TAG.test(p.tags[k])) throw bad(p.tags[k], 'tags.1.member.value', 'Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*');
  }
}

function checkAssumeRole(p, caller) {
  limits(p, caller.includes(':assumed-role/'));
  const role = roles.get(p.role_arn);
  const no = (action) => denied(`User: ${caller} is not authorized to perform: ${action} on resource: ${p.role_arn}`);
  if (!role) throw no('sts:AssumeRole');
  const context = { 'sts:ExternalId': p.external_id, 'sts:RoleSessionName': p.session_name };
  if (!trusts(role, 'sts:AssumeRole', context)) throw no('sts:AssumeRole');
  if (Object.keys(p.tags).length && !trusts(role, 'sts:TagSession', context)) throw no('sts:TagSession');
  if (p.source_identity !== undefined && !trusts(role, 'sts:SetSourceIdentity', context)) throw no('sts:SetSourceIdentity');
}

async function checkWebIdentity(p, token) {
  limits(p, false);
  let issuer;
  try { issuer = jose.decodeJwt(token).iss; } catch { throw new Refusal(400, 'InvalidIdentityToken', 'The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)'); }
  const provider = providers.get(issuer);
  if (!provider) throw new Refusal(400, 'InvalidIdentityToken', `No OpenIDConnect provider found in your account for ${issuer}`);
  provider.keys ??= jose.createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`), { cooldownDuration: 0 });
  let claims;
  try {
    ({ payload: claims } = await jose.jwtVerify(token, provider.keys, { issuer, audience: provider.audiences, algorithms: ['RS256'], requiredClaims: ['sub', 'aud', 'exp', 'iat'] }));
  } catch (error) {
    if (error.code === 'ERR_JWT_EXPIRED') throw new Refusal(400, 'ExpiredTokenException', `Token expired: current date/time ${Math.floor(Date.now() / 1e3)} must be before the expiration date/time ${jose.decodeJwt(token).exp}`);
    if (error.claim === 'aud') throw new Refusal(400, 'InvalidIdentityToken', 'Incorrect token audience');
    throw new Refusal(400, 'InvalidIdentityToken', `Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements (${error.code})`);
  }
  const host = issuer.replace(/^https?:\/\//, '');
  const role = roles.get(p.role_arn);
  const context = { [`${host}:aud`]: list(claims.aud)[0], [`${host}:sub`]: claims.sub };
  if (!role || !trusts(role, 'sts:AssumeRoleWithWebIdentity', context)) throw denied('Not authorized to perform sts:AssumeRoleWithWebIdentity');
  const tagged = claims['https://aws.amazon.com/tags'];
  if (tagged && !trusts(role, 'sts:TagSession', context)) throw denied('Not authorized to perform sts:TagSession');
  return { sub: claims.sub, aud: claims.aud, iss: issuer };
}

// --- passing on
function forward(backend, req, body) {
  return new Promise((done, failed) => {
    const to = new URL(backend);
    // The Host header stays: it is part of what the client signed.
    const out = http.request({ host: to.hostname, port: to.port, method: req.method, path: req.url, headers: req.headers }, async (answer) => {
      try { done({ status: answer.statusCode, headers: answer.headers, body: await read(answer) }); } catch (error) { failed(error); }
    });
    out.on('error', failed);
    out.end(body);
  });
}

function send(res, { status, headers, body }) {
  const { 'transfer-encoding': _, connection: __, ...rest } = headers;
  res.writeHead(status, { ...rest, 'content-length': body.length });
  res.end(body);
}

// Notes the credentials of a good answer, and shortens their life where that is wanted.
function keep(answer, backend, call) {
  const text = answer.body.toString();
  const field = (name) => text.match(new RegExp(`<${name}>([^<]+)</${name}>`))?.[1];
  if (answer.status !== 200 || !field('AccessKeyId')) return answer;
  const seconds = lifetime ?? call.duration ?? 3600;
  const until = Date.now() + seconds * 1e3;
  const stamp = new Date(until).toISOString().replace(/\.\d+Z$/, 'Z'); // AWS gives whole seconds
  issued.set(field('AccessKeyId'), { until, token: field('SessionToken'), secret: field('SecretAccessKey'), arn: field('Arn'), backend });
  call.issued = { access_key_id: field('AccessKeyId'), until: stamp };
  return { ...answer, body: Buffer.from(text.replace(/<Expiration>[^<]*<\/Expiration>/, `<Expiration>${stamp}</Expiration>`)) };
}

function known(req, url, body, who, service) {
  const mine = issued.get(who.key);
  if (!mine) return CHECKED;
  if (Date.now() >= mine.until) {
    throw service === 's3' ? new Refusal(400, 'ExpiredToken', 'The provided token has expired.') : new Refusal(403, 'ExpiredToken', 'The security token included in the request is expired');
  }
  if (who.token !== mine.token) throw new Refusal(403, 'InvalidClientTokenId', 'The security token included in the request is invalid.');
  if (mine.backend === UNCHECKED && !signatureIsGood(req, url, body, who, mine.secret)) {
    throw new Refusal(403, 'SignatureDoesNotMatch', 'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.');
  }
  return mine.backend;
}

async function aws(req, res) {
  const url = new URL(req.url, 'http://rig');
  const body = await read(req);
  const form = new URLSearchParams(/^application\/x-www-form-urlencoded/.test(req.headers['content-type'] ?? '') ? body.toString() : url.search);
  const who = credential(req, url);
  const service = who.service ?? 'sts';
  const action = form.get('Action') ?? `${service}:${req.method}`;
  const call = { at: new Date().toISOString(), action, service, access_key_id: who.key, ...(form.has('Action') ? parameters(form) : { path: url.pathname }) };
  calls.push(call);
  try {
    const fault = faults.find((f) => (!f.action || f.action === action) && (f.times ?? 1) > 0);
    if (fault) {
      fault.times = (fault.times ?? 1) - 1;
      if (fault.delay) await new Promise((done) => { setTimeout(done, fault.delay); });
      if (fault.drop) { call.outcome = 'dropped'; return req.socket.destroy(); }
      if (fault.body !== undefined) { call.outcome = 'nonsense'; return send(res, { status: fault.status ?? 200, headers: { 'content-type': fault.type ?? 'text/xml' }, body: Buffer.from(fault.body) }); }
      if (fault.code) throw new Refusal(fault.status ?? 403, fault.code, fault.message ?? fault.code);
    }
    const web = action === 'AssumeRoleWithWebIdentity';
    if (web) call.web_identity = await checkWebIdentity(call, form.get('WebIdentityToken') ?? '');
    const backend = web ? UNCHECKED : known(req, url, body, who, service);
    let answer = await forward(backend, req, body);
    // A bad signature is moto's to refuse, and comes first, as at AWS: nobody learns about a role without one.
    if (action === 'AssumeRole' && answer.status === 200) checkAssumeRole(call, issued.get(who.key)?.arn ?? callers.get(who.key) ?? 'anonymous');
    if (web || action === 'AssumeRole') answer = keep(answer, backend, call);
    call.outcome = answer.status < 400 ? 'ok' : (answer.body.toString().match(/<Code>([^<]+)/)?.[1] ?? String(answer.status));
    return send(res, answer);
  } catch (error) {
    const refusal = error instanceof Refusal ? error : new Refusal(500, 'InternalFailure', String(error.message));
    call.outcome = refusal.code;
    return refuse(res, service, refusal);
  }
}

async function steer(req, res) {
  const json = (o) => { res.setHeader('content-type', 'application/json'); res.end(JSON.stringify(o)); };
  if (req.url === '/__rig/calls') return json(calls);
  const q = JSON.parse((await read(req)).toString() || '{}');
  switch (req.url) {
    case '/__rig/setup':
      for (const [key, arn] of Object.entries(q.callers ?? {})) callers.set(key, arn);
      for (const role of q.roles ?? []) roles.set(role.arn, role);
      for (const p of q.providers ?? []) providers.set(p.issuer, { ...p });
      return json({ roles: [...roles.keys()], providers: [...providers.keys()] });
    case '/__rig/lifetime': lifetime = q.seconds ?? null; return json({ lifetime });
    case '/__rig/fault': faults = (Array.isArray(q) ? q : [q]).filter((f) => Object.keys(f).length); return json(faults);
    case '/__rig/expire': { let n = 0; for (const c of issued.values()) { c.until = Math.min(c.until, Date.now()); n += 1; } return json({ expired: n }); }
    default: res.statusCode = 404; return res.end();
  }
}

const server = http.createServer((req, res) => {
  (req.url.startsWith('/__rig/') ? steer(req, res) : aws(req, res)).catch((error) => { console.error(error); res.destroy(); });
});
server.listen(+(process.env.PORT ?? 0), '127.0.0.1', () => console.log(JSON.stringify({ ready: true, port: server.address().port })));
