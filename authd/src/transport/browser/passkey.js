// Passkeys: the sign-in of the page /login, and registration on the dashboard.
const element = (id) => document.getElementById(id);
const encode = (buffer) =>
  buffer && btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
const described = (credentials) => credentials.map((credential) => ({ ...credential, id: decode(credential.id) }));

async function post(path, body) {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

async function signIn(form) {
  const fields = { form_token: form.form_token.value, return_to: form.return_to.value };
  const { allowCredentials, ...options } = await post('/login/passkey/options', fields);
  const publicKey = { ...options, challenge: decode(options.challenge), allowCredentials: described(allowCredentials) };
  const credential = await navigator.credentials.get({ publicKey });
  const { clientDataJSON, authenticatorData, signature, userHandle } = credential.response;
  const assertion = {
    credential_id: encode(credential.rawId),
    client_data: encode(clientDataJSON),
    authenticator_data: encode(authenticatorData),
    signature: encode(signature),
    ...(userHandle && { user_handle: encode(userHandle) }),
  };
  location.href = (await post('/login/passkey', { ...fields, assertion })).location;
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
      await (button.form ? signIn(button.form) : register());
    } catch (error) {
      // The browser's own reasons are no help to a person: mostly they have declined.
      const isBrowsers = error instanceof DOMException;
      element('passkey-fault').textContent = isBrowsers ? 'The passkey was not used. Try again.' : error.message;
    }
  };
}
