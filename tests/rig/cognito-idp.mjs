// A certified OpenID provider (panva's oidc-provider) dressed as Amazon Cognito: its paths, its claims, its habits.
//
//   node cognito-idp.mjs        prints one line of JSON when it listens, then a log on stderr
//
// issuer  http(s)://127.0.0.1:ISS_PORT/POOL     like https://cognito-idp.REGION.amazonaws.com/POOL
// domain  http(s)://127.0.0.1:DOM_PORT          like https://NAME.auth.REGION.amazoncognito.com
//
// Environment: ISS_PORT, DOM_PORT (0: any free one), POOL, CALLBACKS (registered redirect URIs, by comma),
// TLS_CERT and TLS_KEY (files), KEEP_ISS (answer RFC 9207's `iss` like a provider that is not Cognito).
//
// Steering, on either port (JSON in, JSON out):
//   GET  /__rig/hits                                       how often each path was asked
//   POST /__rig/callbacks  {"add": ["http://…"]}           registers redirect URIs
//   POST /__rig/rotate     {"drop": bool}                  a new signing key; `drop` takes the old one off the JWKS
//   POST /__rig/ttl        {"id": 60, "access": 60, …}     lifetimes in seconds of what is issued from now on
//   POST /__rig/user       {"name": "carol", …}            adds or changes a user (password, groups, claims, …)
//   POST /__rig/revoke     {"name": "alice"}               ends all of a user's grants: refresh says invalid_grant
//   POST /__rig/client     {"auth": "client_secret_post"}  how the client with a secret authenticates itself, and no other way
//   POST /__rig/refresh    {"rotate": bool}                whether a refresh hands out a new refresh token
//   POST /__rig/auth_time  {"always": bool}              whether ID tokens have it unless they were asked for it by max_age
//   POST /__rig/fault      {"path", "status", "body", "delay", "drop", "times"}   one, or a list; [] clears
import { Provider, interactionPolicy } from 'oidc-provider';
import * as jose from 'jose';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';

const env = process.env;
const POOL = env.POOL || 'us-east-1_RigPool01';
const tls = env.TLS_CERT ? { cert: fs.readFileSync(env.TLS_CERT), key: fs.readFileSync(env.TLS_KEY) } : null;
const scheme = tls ? 'https' : 'http';
const PUBLIC_CLIENT = 'rigpublic0client0id0000001';
const SECRET_CLIENT = 'rigsecret0client0id0000002';
const CLIENT_SECRET = 'rig-client-secret-0123456789abcdef';
const SCOPES = 'openid email profile phone aws.cognito.signin.user.admin offline_access';

const callbacks = new Set((env.CALLBACKS || 'http://127.0.0.1:8080/auth/cli/callback').split(',').filter(Boolean));
const users = new Map([
  ['alice', { sub: '11111111-aaaa-4aaa-8aaa-000000000001', password: 'Passw0rd!', email: 'alice@example.test', email_verified: true, groups: ['admins', 'dev'] }],
  ['bob', { sub: '22222222-bbbb-4bbb-8bbb-000000000002', password: 'Passw0rd!', email: 'bob@example.test', email_verified: false, groups: [] }],
]);
const userBySub = (sub) => [...users].find(([, u]) => u.sub === sub);
const ttl = { id: 3600, access: 3600, refresh: 30 * 86400 };
const faults = [];
const hits = {};
let rotateRefresh = false;
let secretAuth = 'client_secret_basic';

// --- storage: one map, so that it outlives a rebuilt provider (a rotated key, a new callback)
const store = new Map();
class Adapter {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, seconds) {
    store.set(this.key(id), { payload, until: seconds ? Date.now() + seconds * 1e3 : Infinity });
    if (payload.uid) store.set(`uid:${payload.uid}`, id);
  }
  async find(id) {
    const row = store.get(this.key(id));
    return row && row.until > Date.now() ? { ...row.payload } : undefined;
  }
  async findByUid(uid) { return this.find(store.get(`uid:${uid}`)); }
  async findByUserCode() {}
  async consume(id) { const row = store.get(this.key(id)); if (row) row.payload.consumed = Math.floor(Date.now() / 1e3); }
  async destroy(id) { store.delete(this.key(id)); }
  async revokeByGrantId(grant) { for (const [key, row] of store) if (row.payload?.grantId === grant) store.delete(key); }
}

// --- keys: Cognito always publishes two; the first one signs
async function newKey() {
  const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true, modulusLength: 2048 });
  return { ...(await jose.exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: crypto.randomBytes(32).toString('base64') };
}
let keys = [await newKey(), await newKey()];

const policy = interactionPolicy.base();
policy.remove('consent'); // Cognito has no page that asks for consent

let ISSUER, DOMAIN, provider, answer;
let authTime = true;
function build() {
  const client = { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], redirect_uris: [...callbacks], post_logout_redirect_uris: [...callbacks].map((uri) => `${new URL(uri).origin}/login`), require_auth_time: authTime };
  provider = new Provider(ISSUER, {
    adapter: Adapter,
    jwks: { keys },
    clients: [
      { ...client, client_id: PUBLIC_CLIENT, token_endpoint_auth_method: 'none', application_type: 'native' },
      // native, too: oidc-provider allows http redirects to web clients on no host at all
      { ...client, client_id: SECRET_CLIENT, client_secret: CLIENT_SECRET, token_endpoint_auth_method: secretAuth, application_type: 'native' },
    ],
    routes: { authorization: '/oauth2/authorize', token: '/oauth2/token', userinfo: '/oauth2/userInfo', revocation: '/oauth2/revoke', jwks: '/.well-known/jwks.json', end_session: '/logout', introspection: '/oauth2/introspect' },
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true, allowedPolicy: () => true },
      introspection: { enabled: true, allowedPolicy: () => true },
      rpInitiatedLogout: { enabled: true },
      userinfo: { enabled: true },
    },
    ...(secretAuth === 'client_secret_basic' ? {} : { clientAuthMethods: [secretAuth, 'none'] }),
    pkce: { required: () => false }, // as Cognito: honoured when sent
    scopes: SCOPES.split(' '),
    claims: { openid: ['sub', 'token_use', 'cognito:username', 'cognito:groups', 'origin_jti', 'event_id', 'jti', 'username', 'https://aws.amazon.com/tags', 'https://aws.amazon.com/source_identity'], email: ['email', 'email_verified'], profile: ['name'] },
    conformIdTokenClaims: false, // the claims of the scopes go into the ID token, as Cognito does
    issueRefreshToken: async (ctx, c) => c.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: () => rotateRefresh,
    ttl: { AccessToken: () => ttl.access, IdToken: () => ttl.id, RefreshToken: () => ttl.refresh, AuthorizationCode: 300, Interaction: 600, Session: 3600, Grant: 30 * 86400 },
    interactions: { policy, url: (ctx, interaction) => `/login/${interaction.uid}` },
    cookies: { keys: ['rig-cookie-key'] },
    async findAccount(ctx, sub) {
      const found = userBySub(sub);
      if (!found) return undefined;
      const [name, user] = found;
      return {
        accountId: sub,
        async claims(use) {
          const base = { sub, email: user.email };
          // Cognito's userInfo answers email_verified as a string, its ID token as a boolean
          if (use !== 'id_token') return { ...base, username: name, email_verified: String(user.email_verified) };
          return {
            ...base, email_verified: user.email_verified, token_use: 'id', 'cognito:username': name,
            origin_jti: crypto.randomUUID(), event_id: crypto.randomUUID(), jti: crypto.randomUUID(),
            ...(user.groups.length ? { 'cognito:groups': user.groups } : {}), ...user.claims,
          };
        },
      };
    },
    async loadExistingGrant(ctx) {
      const known = ctx.oidc.session.grantIdFor(ctx.oidc.client.clientId);
      const grant = known && (await ctx.oidc.provider.Grant.find(known));
      if (grant) return grant;
      const fresh = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      fresh.addOIDCScope(SCOPES);
      await fresh.save();
      return fresh;
    },
    renderError: async (ctx, out) => { ctx.type = 'html'; ctx.body = `<!doctype html><title>error</title><pre id=err>${JSON.stringify(out)}</pre>`; },
  });
  provider.on('server_error', (ctx, error) => console.error('server_error', error));
  provider.use(dress);
  answer = provider.callback();
}

// What oidc-provider answers, in Cognito's clothes: access tokens are JWTs with token_use, no `iss` in the redirect,
// the keys live on the issuer's host, a refresh hands out no new refresh token.
async function dress(ctx, next) {
  const bare = (token) => { try { const p = jose.decodeJwt(token); return p.token_use === 'access' ? p['rig:at'] : token; } catch { return token; } };
  const auth = ctx.req.headers.authorization;
  if (ctx.path === '/oauth2/userInfo' && auth?.startsWith('Bearer ')) ctx.req.headers.authorization = `Bearer ${bare(auth.slice(7))}`;
  await next();
  const location = ctx.response.get('location');
  if (location && !env.KEEP_ISS && /[?&](code|error)=/.test(location)) {
    const url = new URL(location);
    url.searchParams.delete('iss');
    ctx.set('location', url.href);
  }
  if (ctx.path === '/.well-known/openid-configuration') ctx.body.jwks_uri = `${ISSUER}/.well-known/jwks.json`;
  if (ctx.path !== '/oauth2/token' || ctx.status !== 200 || !ctx.body?.access_token) return;
  const out = ctx.body;
  const id = jose.decodeJwt(out.id_token);
  const [name, user] = userBySub(id.sub);
  const key = await jose.importJWK(keys[0], 'RS256');
  const header = { kid: keys[0].kid, alg: 'RS256' };
  const groups = user.groups.length ? { 'cognito:groups': user.groups } : {};
  out.access_token = await new jose.SignJWT({
    sub: id.sub, ...groups, iss: ISSUER, version: 2, client_id: id.aud, origin_jti: id.origin_jti, event_id: id.event_id,
    token_use: 'access', scope: out.scope, auth_time: id.auth_time, username: name, jti: crypto.randomUUID(), 'rig:at': out.access_token,
  }).setProtectedHeader(header).setIssuedAt().setExpirationTime(`${ttl.access}s`).sign(key);
  const at_hash = crypto.createHash('sha256').update(out.access_token).digest().subarray(0, 16).toString('base64url');
  out.id_token = await new jose.SignJWT({ ...id, at_hash }).setProtectedHeader(header).sign(key);
  if (ctx.oidc?.params?.grant_type === 'refresh_token' && !rotateRefresh) delete out.refresh_token;
  delete out.scope;
}

const read = (req) => new Promise((done) => { let s = ''; req.on('data', (d) => { s += d; }); req.on('end', () => done(s)); });
const page = (uid, csrf, error) => `<!doctype html><html lang="en"><head><title>Signin</title><meta name="viewport" content="width=device-width">
<style>body{font:16px system-ui;max-width:22rem;margin:4rem auto;padding:0 1rem}input{display:block;width:100%;box-sizing:border-box;margin:.5rem 0;padding:.6rem}</style></head><body>
<h1>Sign in</h1>${error ? `<p id="loginErrorMessage">${error}</p>` : ''}
<form action="/login/${uid}" method="POST" name="cognitoSignInForm"><input type="hidden" name="_csrf" value="${csrf}">
<input id="signInFormUsername" name="username" placeholder="Username" autocapitalize="none">
<input id="signInFormPassword" name="password" type="password" placeholder="Password">
<input name="signInSubmitButton" type="Submit" value="Sign in"><input name="cancelButton" type="Submit" value="Cancel"></form>
<p>A provider for tests. Users: ${[...users.keys()].join(', ')}. Password: Passw0rd!</p></body></html>`;

// The hosted sign-in page. Cancel stands for an upstream provider where the person declines: Cognito then sends
// error=access_denied to the redirect URI.
async function signIn(uid, req, res) {
  const html = (text) => { res.statusCode = 200; res.setHeader('content-type', 'text/html; charset=utf-8'); res.end(text); };
  try {
    const interaction = await provider.interactionDetails(req, res);
    const csrf = crypto.createHmac('sha256', 'rig').update(interaction.uid).digest('hex').slice(0, 36);
    if (req.method !== 'POST') return html(page(uid, csrf));
    const form = new URLSearchParams(await read(req));
    if (form.get('_csrf') !== csrf) return html(page(uid, csrf, 'The form is too old.'));
    if (form.has('cancelButton')) {
      return await provider.interactionFinished(req, res, { error: 'access_denied', error_description: 'User cancelled' }, { mergeWithLastSubmission: false });
    }
    const user = users.get(form.get('username'));
    if (!user || user.password !== form.get('password')) return html(page(uid, csrf, 'Incorrect username or password.'));
    return await provider.interactionFinished(req, res, { login: { accountId: user.sub, remember: true } }, { mergeWithLastSubmission: false });
  } catch (error) {
    res.statusCode = 400;
    return res.end(String(error));
  }
}

async function steer(path, req, res) {
  const json = (o) => { res.setHeader('content-type', 'application/json'); res.end(JSON.stringify(o)); };
  if (path === '/__rig/hits') return json(hits);
  const q = JSON.parse((await read(req)) || '{}');
  switch (path) {
    case '/__rig/callbacks': for (const uri of q.add) callbacks.add(uri); build(); return json([...callbacks]);
    case '/__rig/rotate': { const key = await newKey(); keys = q.drop ? [key] : [key, keys[0]]; build(); return json({ kids: keys.map((k) => k.kid) }); }
    case '/__rig/ttl': return json(Object.assign(ttl, q));
    case '/__rig/user': {
      const { name, ...change } = q;
      const base = { sub: crypto.randomUUID(), groups: [], email_verified: true, email: `${name}@example.test`, password: 'Passw0rd!' };
      users.set(name, { ...base, ...users.get(name), ...change });
      return json(users.get(name));
    }
    case '/__rig/revoke': {
      const { sub } = users.get(q.name);
      let ended = 0;
      for (const [key, row] of store) if (row.payload?.accountId === sub && !key.startsWith('Session:')) { store.delete(key); ended += 1; }
      return json({ ended });
    }
    case '/__rig/client': secretAuth = q.auth; build(); return json({ auth: secretAuth });
    case '/__rig/refresh': rotateRefresh = !!q.rotate; return json({ rotate: rotateRefresh });
    case '/__rig/auth_time': authTime = !!q.always; build(); return json({ always: authTime });
    case '/__rig/fault': faults.length = 0; faults.push(...(Array.isArray(q) ? q : [q]).filter((f) => f.path)); return json(faults);
    default: res.statusCode = 404; return res.end();
  }
}

async function handle(req, res) {
  const path = req.url.split('?')[0];
  if (path.startsWith('/__rig/')) return steer(path, req, res);
  const p = path.startsWith(`/${POOL}/`) ? path.slice(POOL.length + 1) : path;
  const hit = `${req.method} ${p.replace(/^\/(login|oauth2\/authorize)\/.*/, '/$1/')}`;
  hits[hit] = (hits[hit] || 0) + 1;
  const fault = faults.find((f) => f.path === p && (f.times ?? 1) > 0);
  if (fault) {
    fault.times = (fault.times ?? 1) - 1;
    if (fault.delay) await new Promise((done) => { setTimeout(done, fault.delay); });
    if (fault.drop) return req.socket.destroy();
    if (fault.status) {
      res.statusCode = fault.status;
      res.setHeader('content-type', fault.type ?? 'application/json');
      return res.end(fault.body ?? '{"error":"server_error"}');
    }
  }
  // oidc-provider itself takes either way
  if (secretAuth === 'client_secret_post' && req.headers.authorization?.startsWith('Basic ')) {
    res.statusCode = 401;
    res.setHeader('content-type', 'application/json');
    return res.end('{"error":"invalid_client","error_description":"the secret belongs into the form"}');
  }
  if (p.startsWith('/login/')) return signIn(p.slice(7), req, res);
  // Cognito's own way to sign out, which asks nothing; the address must be one of the client's sign-out URLs.
  const back = p === '/logout' && new URL(req.url, ISSUER).searchParams.get('logout_uri');
  if (back) {
    const allowed = [...callbacks].map((uri) => `${new URL(uri).origin}/login`);
    if (!allowed.includes(back)) { res.statusCode = 400; return res.end('invalid logout_uri'); }
    res.statusCode = 302;
    res.setHeader('set-cookie', ['_session', '_session.sig', '_session.legacy', '_session.legacy.sig'].map((name) => `${name}=; Path=/; Max-Age=0`));
    res.setHeader('location', back);
    return res.end();
  }
  req.url = req.url.replace(`/${POOL}/`, '/'); // the issuer's URLs carry the pool, the domain's do not
  req.headers.host = DOMAIN; // discovery always names the domain's endpoints
  return answer(req, res);
}

const listen = (port) => new Promise((done, failed) => {
  const server = tls ? https.createServer(tls, handle) : http.createServer(handle);
  server.once('error', failed);
  server.listen(port, '127.0.0.1', () => done(server.address().port));
});
const issuerPort = await listen(+(env.ISS_PORT ?? 9010));
const domainPort = await listen(+(env.DOM_PORT ?? 9011));
ISSUER = `${scheme}://127.0.0.1:${issuerPort}/${POOL}`;
DOMAIN = `127.0.0.1:${domainPort}`;
build();
console.log(JSON.stringify({
  ready: true, issuer: ISSUER, domain: `${scheme}://${DOMAIN}`, pool: POOL, issuer_port: issuerPort, domain_port: domainPort,
  public_client: PUBLIC_CLIENT, secret_client: SECRET_CLIENT, client_secret: CLIENT_SECRET,
}));
