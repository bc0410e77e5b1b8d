// Uploads the files of the page /dashboard/files with a bar. Without this script the browser sends the form itself; the
// answer is the same page either way.
const element = (id) => document.getElementById(id);

function begin(form) {
  const request = new XMLHttpRequest();
  const [bar, text, button] = [element('progress'), element('progress-text'), form.querySelector('button')];
  const show = (sent, total) => {
    const percent = total ? Math.floor((sent * 100) / total) : 0;
    bar.querySelector('progress').value = percent;
    // The last files are checked and stored after everything was sent.
    text.textContent = percent < 100 ? `Uploading: ${percent} %` : 'Storing…';
  };
  const stop = (fault) => {
    bar.hidden = true;
    button.disabled = false;
    element('upload-fault').textContent = fault;
  };
  request.upload.onprogress = (event) => show(event.loaded, event.total);
  request.onerror = () => stop('The upload broke off. Try again.');
  request.onload = () => {
    const main = new DOMParser().parseFromString(request.responseText, 'text/html').querySelector('main');
    if (!main?.querySelector('#upload')) {
      // Somebody has to sign in, or the page failed.
      location.href = request.responseURL.endsWith('/upload') ? location.pathname : request.responseURL;
      return;
    }
    document.querySelector('main').replaceWith(main);
    listen();
    main.querySelector('[role=status], [role=alert]')?.scrollIntoView({ block: 'nearest' });
  };
  element('upload-fault').textContent = '';
  bar.hidden = false;
  button.disabled = true;
  show(0, 0);
  request.open('POST', form.action);
  request.setRequestHeader('accept', 'text/html');
  request.send(new FormData(form));
}

function listen() {
  element('upload').onsubmit = (event) => {
    event.preventDefault();
    begin(event.target);
  };
}

listen();
