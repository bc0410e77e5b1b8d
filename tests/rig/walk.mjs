// A person at a real Chromium who does one thing after the other, in one or several windows that share no cookies.
//
//   node walk.mjs < steps.json           prints one line of JSON: {"ok", "steps": [what each step told], "error"}
//
// Each step is an object with one action, and optionally "window": "name" (default "first"; one whose name begins with
// "plain" runs no scripts):
//   {"goto": URL}                         opens it; tells the status
//   {"fill": {"name": "text", …}}         types into the fields with these names
//                                         instead of a text: {"totp": "+30 seconds"}, the code of the secret that was kept, by
//                                         oathtool, and {"kept": "codes", "number": 0}, one of the texts that were kept
//   {"keep": {"name": "selector", …}}     remembers the texts of these elements
//   {"press": "text"}                     presses the button or link with exactly this name (a regex, if it begins with ^),
//                                         and waits for what comes
//   {"open": "text"}                      opens the details with this summary
//   {"click": "text"}                     the same without waiting, for what leads nowhere else
//   {"download": "text"}                  saves what the link with this name leads to; tells the file's name and size
//   {"attach": ["path", …]}               chooses these files in the page's field for files
//   {"slow": number}                      the network sends so many bytes a second from now on
//   {"mailed": {"folder", "to"}}          waits for a mail to this address in the folder of smtp-sink.py, and opens its link
//   {"see": "regex"}                      waits until URL or text matches; tells the text
//   {"authenticator": true}               a virtual authenticator that says yes to everything, from now on
//   {"cookies": true}                     tells the cookies
//   {"post": {"url", "form": {…}}}        a page of another site sends this form; "url" is opened from "from", if there is one
//   {"set_cookie": {…}}                   as a page of this origin could not
//   {"shot": "path"}                      screenshots, at desktop and at phone width: path-desktop.png, path-phone.png
//   {"dark": true}                        shows pages in dark until the next "axe"
//   {"axe": true}                         what axe finds, at both widths and in both colour schemes
import { chromium } from 'playwright-core';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';

const steps = JSON.parse(fs.readFileSync(0, 'utf8'));
const out = { ok: false, steps: [] };
const limit = 60e3;
const executablePath = process.env.CHROMIUM || ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => fs.existsSync(p));
// `--no-sandbox`: root has no user namespace to put it in. QUIC and background traffic would leave this machine.
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--no-proxy-server'];
const browser = await chromium.launch({ executablePath, args, timeout: limit });
process.on('SIGTERM', () => browser.close());

const sizes = { desktop: { width: 1280, height: 900 }, phone: { width: 360, height: 740 } };
const windows = new Map();
async function window(name) {
  if (!windows.has(name)) {
    // axe is put into the page, whose policy forbids that. Everything else is as the policy says.
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: sizes.desktop, javaScriptEnabled: !name.startsWith('plain') });
    const page = await context.newPage();
    page.setDefaultTimeout(limit);
    windows.set(name, { context, page });
  }
  return windows.get(name);
}

async function see(page, pattern) {
  const match = new RegExp(pattern);
  const deadline = Date.now() + limit;
  for (;;) {
    const text = await page.evaluate(() => document.body?.innerText ?? '').catch(() => '');
    if (match.test(page.url()) || match.test(text)) return { url: page.url(), text };
    if (Date.now() > deadline) throw new Error(`/${pattern}/ did not come: ${page.url()}: ${text.slice(0, 500)}`);
    await page.waitForTimeout(50);
  }
}

const kept = new Map();
// What a step types: see above.
function typed(text) {
  if (text.totp) return execFileSync('oathtool', ['--totp', '--base32', '--now', `now ${text.totp.replace('now', '')}`, '-'], { input: kept.get('secret')[0] }).toString().trim();
  return text.kept ? kept.get(text.kept)[text.number] : text;
}

const actions = {
  goto: async ({ page }, url) => ({ status: (await page.goto(url)).status() }),
  fill: async ({ page }, fields) => { for (const [name, text] of Object.entries(fields)) await page.locator(`[name="${name}"]:visible`).fill(typed(text)); },
  keep: async ({ page }, texts) => { for (const [name, selector] of Object.entries(texts)) kept.set(name, await page.locator(selector).allInnerTexts()); },
  press: async ({ page }, name) => {
    const by = name.startsWith('^') ? { name: new RegExp(name) } : { name, exact: true };
    const target = page.getByRole('button', by).or(page.getByRole('link', by));
    const [response] = await Promise.all([page.waitForNavigation(), target.first().click()]);
    return { status: response?.status(), url: page.url() };
  },
  open: ({ page }, name) => page.locator('summary', { hasText: name }).first().click(),
  click: ({ page }, name) => page.getByRole('button', { name, exact: true }).click(),
  download: async ({ page }, name) => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name, exact: true }).click()]);
    return { name: download.suggestedFilename(), size: fs.statSync(await download.path()).size };
  },
  attach: ({ page }, paths) => page.locator('input[type=file]').setInputFiles(paths),
  slow: async ({ context, page }, uploadThroughput) => {
    const session = await context.newCDPSession(page);
    await session.send('Network.enable');
    await session.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput });
  },
  mailed: async ({ page }, { folder, to }) => {
    const deadline = Date.now() + limit;
    for (;;) {
      const names = fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => name.endsWith('.json')).sort() : [];
      const mails = names.map((name) => JSON.parse(fs.readFileSync(`${folder}/${name}`, 'utf8')));
      const [link] = mails.filter((mail) => mail.to === to).at(-1)?.text.match(/https?:\/\/\S+#\S+/) ?? [];
      if (link) return { status: (await page.goto(link)).status() };
      if (Date.now() > deadline) throw new Error(`no mail with a link came to ${to}`);
      await page.waitForTimeout(50);
    }
  },
  see: ({ page }, pattern) => see(page, pattern),
  authenticator: async ({ context, page }) => {
    const session = await context.newCDPSession(page);
    await session.send('WebAuthn.enable');
    const options = { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
    await session.send('WebAuthn.addVirtualAuthenticator', { options });
  },
  cookies: ({ context }) => context.cookies(),
  post: async ({ page }, { from, url, form }) => {
    await page.goto(from);
    const [response] = await Promise.all([
      page.waitForNavigation(),
      page.evaluate(([url, form]) => {
        const element = document.createElement('form');
        Object.assign(element, { method: 'post', action: url });
        for (const [name, value] of Object.entries(form)) element.append(Object.assign(document.createElement('input'), { name, value }));
        document.body.append(element);
        element.submit();
      }, [url, form]),
    ]);
    return { status: response?.status(), url: page.url() };
  },
  set_cookie: ({ context }, cookie) => context.addCookies([cookie]),
  shot: async ({ page }, path) => {
    for (const [kind, size] of Object.entries(sizes)) {
      await page.setViewportSize(size);
      await page.screenshot({ path: `${path}-${kind}.png`, fullPage: true });
    }
    await page.setViewportSize(sizes.desktop);
  },
  dark: ({ page }) => page.emulateMedia({ colorScheme: 'dark' }),
  axe: async ({ context, page }) => {
    const found = [];
    const source = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
    const session = await context.newCDPSession(page);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const [kind, size] of Object.entries(sizes)) {
        await page.setViewportSize(size);
        // Through the debugger, which no policy of the page stops.
        await session.send('Runtime.evaluate', { expression: source });
        const ran = await session.send('Runtime.evaluate', { expression: 'axe.run().then((r) => JSON.stringify(r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)])))', awaitPromise: true });
        for (const [id, nodes] of JSON.parse(ran.result.value)) found.push({ id, nodes, kind, colorScheme });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wide > 0) found.push({ id: 'scrolls-sideways', nodes: [`${wide} px`], kind, colorScheme });
      }
    }
    await page.setViewportSize(sizes.desktop);
    await page.emulateMedia({ colorScheme: null });
    return found;
  },
};

try {
  for (const step of steps) {
    const { window: name = 'first', ...rest } = step;
    const [[action, argument]] = Object.entries(rest);
    out.steps.push((await actions[action](await window(name), argument)) ?? null);
  }
  out.ok = true;
} catch (error) {
  out.error = `step ${out.steps.length + 1}: ${error.message}`;
} finally {
  console.log(JSON.stringify(out));
  await browser.close();
}
