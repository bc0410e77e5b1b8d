// A person at a real Chromium: opens a URL, signs in, presses buttons, and tells what the page then says.
//
//   node browser.mjs URL [option=value …]          prints one line of JSON
//     user=alice password=…    what to type into the provider's form, or authd's own (default alice, Passw0rd!)
//     set=PASSWORD             instead of signing in: type it into authd's own form, and send that
//     then=none|deny|cancel    after signing in: press Deny on authd's page, instead of Continue where it asks; cancel: decline
//                              at the provider
//     until=REGEX              wait until the page's URL or text matches (default: whatever page comes after the sign-in)
//     shots=DIR                screenshots there, at desktop and at phone width, of each page that was seen
//     width=1280               of the window
//     timeout=75               seconds for the whole visit
//     cookies=FILE             where the cookies are kept for the next visit
//
// {"ok", "url", "title", "text", "form": the form's HTML before it was sent, "clicked": […], "visited": [urls of top-level
// navigations], "error"}
import { chromium } from 'playwright-core';
import fs from 'node:fs';

const [target, ...rest] = process.argv.slice(2);
const option = { user: 'alice', password: 'Passw0rd!', then: 'none', width: '1280', timeout: '75', ...Object.fromEntries(rest.map((o) => [o.slice(0, o.indexOf('=')), o.slice(o.indexOf('=') + 1)])) };
const out = { ok: false, url: '', title: '', text: '', clicked: [], visited: [] };
const limit = +option.timeout * 1e3;
const deadline = Date.now() + limit;
const executablePath = process.env.CHROMIUM || ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => fs.existsSync(p));

// `--no-sandbox`: root has no user namespace to put it in. QUIC and background traffic would leave this machine.
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--no-proxy-server'];
const browser = await chromium.launch({ executablePath, args, timeout: limit });
process.on('SIGTERM', () => browser.close());
try {
  const kept = option.cookies && fs.existsSync(option.cookies) ? { storageState: option.cookies } : {};
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: +option.width, height: 900 }, ...kept });
  const page = await context.newPage();
  page.setDefaultTimeout(limit);
  page.on('framenavigated', (frame) => { if (frame === page.mainFrame()) out.visited.push(frame.url()); });
  // A redirect to a port where nobody listens is no navigation: the request alone shows where the browser was sent.
  page.on('request', (r) => { if (r.isNavigationRequest() && r.frame() === page.mainFrame() && out.visited.at(-1) !== r.url()) out.visited.push(r.url()); });
  let shot = 0;
  const picture = async (name) => {
    if (!option.shots) return;
    fs.mkdirSync(option.shots, { recursive: true });
    shot += 1;
    for (const [kind, size] of Object.entries({ desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } })) {
      await page.setViewportSize(size);
      await page.screenshot({ path: `${option.shots}/${shot}-${name}-${kind}.png`, fullPage: true });
    }
  };
  const settle = async (match) => {
    for (;;) {
      const text = await page.evaluate(() => document.body?.innerText ?? '').catch(() => '');
      if (match(page.url(), text)) return;
      if (Date.now() > deadline) throw new Error(`the page did not come: ${page.url()}: ${text.slice(0, 300)}`);
      await page.waitForTimeout(50);
    }
  };
  const gone = (error) => { if (!/ERR_CONNECTION_REFUSED|ERR_ABORTED|interrupted|ERR_EMPTY_RESPONSE/.test(error.message)) throw error; };
  // The login page, or where a browser that is still signed in is sent at once.
  await page.goto(target).catch(gone);
  const form = page.locator('#signInFormUsername');
  // authd may show a page of its own first; a person presses its button
  const first = page.locator('form[data-step=continue] button, a[data-step=continue]');
  if (await first.count()) { await picture('start'); await first.first().click(); out.clicked.push('continue'); await page.waitForLoadState(); }
  if (await form.count()) {
    await picture('sign-in');
    const press = async (selector, name) => {
      const before = page.url();
      await page.click(selector, { noWaitAfter: true });
      out.clicked.push(name);
      await settle((url) => url !== before && !url.includes('/login/'));
    };
    if (option.then === 'cancel') await press('[name=cancelButton]', 'cancel');
    else {
      await form.fill(option.user);
      await page.fill('#signInFormPassword', option.password);
      await press('[name=signInSubmitButton]', 'sign in');
    }
  }
  const own = page.locator('form[action="/login"]');
  if (await own.count()) {
    await picture('own');
    await own.locator('[name=username]').fill(option.user);
    await own.locator('[name=password]').fill(option.password);
    await own.locator('button.main').click();
    out.clicked.push('sign in');
    await page.waitForLoadState('load');
  }
  const device = page.locator('form[action="/auth/cli/local"] button.main');
  if (await device.count()) {
    await picture('device');
    if (option.then !== 'deny') {
      const before = page.url();
      await device.click({ noWaitAfter: true });
      out.clicked.push('continue');
      await settle((url, text) => url !== before && !/^\s*$/.test(text));
    }
  }
  if (option.set) {
    await page.waitForLoadState('load');
    await page.fill('input[name=password]', option.set);
    out.form = await page.content();
    await picture('form');
    await page.click('button.main');
    out.clicked.push('set');
  }
  await page.waitForLoadState('load').catch(gone);
  await picture('after');
  if (option.then === 'deny') {
    const before = page.url();
    await page.getByRole('button', { name: /deny/i }).first().click({ noWaitAfter: true });
    out.clicked.push('deny');
    await settle((url, text) => url !== before && !/^\s*$/.test(text));
    await page.waitForLoadState('load').catch(gone);
    await picture('denied');
  }
  if (option.until) await settle((url, text) => new RegExp(option.until).test(url) || new RegExp(option.until).test(text));
  out.url = page.url();
  out.title = await page.title();
  out.text = await page.evaluate(() => document.body?.innerText ?? '');
  // not of the browser's own error page; a page that is still being replaced is asked again once it is there
  const content = () => page.content().catch(() => page.waitForLoadState('load').then(() => page.content()));
  if (/^https?:/.test(out.url)) out.html = await content();
  if (option.cookies) await context.storageState({ path: option.cookies });
  out.ok = true;
} catch (error) {
  out.error = String(error.message);
} finally {
  await browser.close();
}
console.log(JSON.stringify(out));
process.exit(out.ok ? 0 : 1);
