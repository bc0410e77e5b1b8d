// Passkeys: the sign-in of the page /login, a new proof, and registration on the dashboard.
// The path of the public URL, below which this script is.
const root = new URL('.', document.currentScript.src).pathname.slice(0, -1);
const element = (id) => document.getElementById(id);
const encode = (buffer) =>
  buffer && btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
const described = (credentials) => credentials.map((credential) => ({ ...credential, id: decode(credential.id) }));

async function post(path, body) {
  const response = await fetch(root + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.detail), { code: answer.error });
  return answer;
}

async function ask({ allowCredentials, ...options }) {
  const publicKey = { ...options, challenge: decode(options.challenge), allowCredentials: described(allowCredentials) };
  const credential = await navigator.credentials.get({ publicKey });
  const { clientDataJSON, authenticatorData, signature, userHandle } = credential.response;
  return {
    credential_id: encode(credential.rawId),
    client_data: encode(clientDataJSON),
    authenticator_data: encode(authenticatorData),
    signature: encode(signature),
    ...(userHandle && { user_handle: encode(userHandle) }),
  };
}

// Of nobody, or of who is signed in.
async function prove(form) {
  const fields = { form_token: form.form_token.value, return_to: form.return_to.value };
  const path = new URL(form.action).pathname.slice(root.length);
  const options = path === '/login' ? post('/login/passkey/options', fields) : post('/auth/reauthenticate/passkey/options', {});
  const assertion = await ask(await options);
  const target = (await post(`${path}/passkey`, { ...fields, assertion })).location;
  location.href = target.startsWith('/') ? root + target : target;
}

async function register() {
  const { excludeCredentials, user, ...options } = await post('/auth/passkeys/options', {});
  const credential = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: decode(options.challenge),
      user: { ...user, id: decode(user.id) },
      excludeCredentials: described(excludeCredentials),
    },
  });
  await post('/auth/passkeys', {
    credential_id: encode(credential.rawId),
    client_data: encode(credential.response.clientDataJSON),
    authenticator_data: encode(credential.response.getAuthenticatorData()),
    public_key: encode(credential.response.getPublicKey()),
    transports: credential.response.getTransports(),
  });
  location.reload();
}

const button = element('passkey');
if (button && window.PublicKeyCredential) {
  button.hidden = false;
  button.onclick = async () => {
    element('passkey-fault').textContent = '';
    try {
      await (button.form ? prove(button.form) : register());
    } catch (error) {
      if (error.code === 'step_up_required') {
        return location.assign(`${root}/dashboard/verify?return_to=/dashboard/security`);
      }
      // The browser's own reasons are no help to a person: mostly they have declined.
      const isBrowsers = error instanceof DOMException;
      element('passkey-fault').textContent = isBrowsers ? 'The passkey was not used. Try again.' : error.message;
    }
  };
}
