// The page of a mailed link: takes the token out of the address bar and out of the browser's history, and shows whose
// account it is for. The token's signature is checked when the form is sent.
const element = (id) => document.getElementById(id);
const token = element('token');
const decode = (text) => atob(text.replace(/-/g, '+').replace(/_/g, '/'));

function show() {
  let address = '';
  try {
    const text = token.value.trim();
    // As it is mailed, the token is in base64, and so is each of its parts.
    const [, claims] = (text.includes('.') ? text : decode(text)).split('.');
    const bytes = Uint8Array.from(decode(claims), (c) => c.charCodeAt(0));
    const { email, sub } = JSON.parse(new TextDecoder().decode(bytes));
    address = email || sub;
  } catch {
    // It is not complete yet.
  }
  element('address').textContent = address;
  element('user').value = address;
  element('whose').hidden = !address;
}

const fragment = location.hash.slice(1);
if (fragment) {
  token.value = fragment;
  history.replaceState(null, '', location.pathname);
}
element('code').hidden = token.value !== '';
token.oninput = show;
show();
