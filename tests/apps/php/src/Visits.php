<?php

namespace Sample;

final class Visits
{
    public function __construct(private string $file)
    {
    }

    public function add(): void
    {
        file_put_contents($this->file, gmdate('c') . " php\n", FILE_APPEND);
    }

    public function count(): int
    {
        return is_file($this->file) ? count(file($this->file)) : 0;
    }
}
