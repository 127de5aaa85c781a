// A visit is written to visits.txt at once; how long the app lived is written to last-words.txt on TERM.
const fs = require('node:fs');
const http = require('node:http');
const ms = require('ms');

const began = Date.now();
const visits = () => (fs.existsSync('visits.txt') ? fs.readFileSync('visits.txt', 'utf8').split('\n').length - 1 : 0);

const server = http.createServer((request, response) => {
  if (request.url === '/visit') {
    fs.appendFileSync('visits.txt', `${new Date().toISOString()} node\n`);
  }
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end(`visits: ${visits()}\n`);
});

process.on('SIGTERM', () => {
  fs.writeFileSync('last-words.txt', `node lived for ${ms(Date.now() - began)} and saw ${visits()} visits\n`);
  server.closeAllConnections();
  server.close(() => process.exit(0));
});

server.listen(Number(process.env.PORT ?? 3000), () => {
  console.log(`listening on ${server.address().port}`);
});
