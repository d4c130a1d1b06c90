#include "shapes.hpp"

#include <cmath>

Matrix Matrix::operator*(const Matrix &other) const {
    Matrix out{};
    for (int row = 0; row < 4; row++)
        for (int column = 0; column < 4; column++)
            for (int k = 0; k < 4; k++)
                out.cell[row * 4 + column] += cell[row * 4 + k] * other.cell[k * 4 + column];
    return out;
}

Matrix Matrix::turned(double angle) {
    Matrix out{};
    out.cell[0] = out.cell[5] = std::cos(angle);
    out.cell[1] = -std::sin(angle);
    out.cell[4] = std::sin(angle);
    out.cell[10] = out.cell[15] = 1;
    return out;
}

namespace {

class Circle final : public Shape {
  public:
    Circle(std::string name, double radius) : Shape(std::move(name)), radius_(radius) {
        if (radius > 90)
            throw std::domain_error("too large: " + this->name());
    }
    double area() const override { return 3.141592653589793 * radius_ * radius_; }

  private:
    double radius_;
};

class Polygon final : public Shape {
  public:
    Polygon(std::string name, int corners) : Shape(std::move(name)) {
        for (int i = 0; i < corners; i++)
            points_.emplace_back(i * 37 % 101, i * 53 % 97);
    }
    double area() const override {
        double sum = 0;
        for (std::size_t i = 0; i < points_.size(); i++) {
            const auto &a = points_[i], &b = points_[(i + 1) % points_.size()];
            sum += a.first * b.second - b.first * a.second;
        }
        return std::fabs(sum) / 2;
    }

  private:
    std::vector<std::pair<double, double>> points_;
};

} // namespace

std::unique_ptr<Shape> make_shape(int seed) {
    std::string name = "shape " + std::string(seed % 50, 'x') + std::to_string(seed);
    if (seed % 3 == 0)
        return std::make_unique<Circle>(std::move(name), seed % 100);
    return std::make_unique<Polygon>(std::move(name), 3 + seed % 40);
}

std::vector<std::unique_ptr<Shape>> make_shapes(int count, int &refused) {
    std::vector<std::unique_ptr<Shape>> shapes;
    for (int seed = 0; seed < count; seed++) {
        try {
            shapes.push_back(make_shape(seed));
        } catch (const std::domain_error &) {
            refused++;
        }
    }
    return shapes;
}
