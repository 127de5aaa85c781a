<?php

// Counts its visits in a file of its workspace.
require __DIR__ . '/vendor/autoload.php';

$visits = new Sample\Visits(__DIR__ . '/visits.txt');
if (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) === '/visit') {
    $visits->add();
}
header('Content-Type: text/plain; charset=utf-8');
echo "visits: {$visits->count()}\n";
